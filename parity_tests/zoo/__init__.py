"""Every factory of fdl.models beside its torch counterpart: a file for each family."""
