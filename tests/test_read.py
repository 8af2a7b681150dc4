"""A config is read whole, or refused in one sentence with file, line, key and the nearest known name."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from pipeline.errors import CONFIG, GraftError
from pipeline.explain import explain
from pipeline.read import Problem, read


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fit(Strict):
    """What is done with pictures of another size."""

    fit: Literal["refuse", "crop", "resize"] = "refuse"
    flip: bool = True


class Run(Strict):
    target: str = Field(description="the domain to adapt to")
    steps: int = Field(
        100,
        ge=1,
        le=10_000,
        description="how long",
        json_schema_extra={"unit": "steps", "source": "Ojha 2021"},
    )
    rate: float = Field(0.002, gt=0)
    out: Path = Path("runs")
    seeds: list[int] = Field([0], min_length=1)
    weights: dict[str, float] = {}
    grid: dict[str, Any] = {}
    data: Fit = Fit()

    @field_validator("target")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError("a target's name has no spaces")
        return value


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "x.yaml") -> Path:
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return write


def refusal(path: Path | str, *overrides: str, **more: Any) -> str:
    with pytest.raises(GraftError) as caught:
        read(path, overrides, Run, **more)
    assert caught.value.exit_code == CONFIG
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_defaults_and_overrides_make_a_model(write):
    path = write("target: lorelei\nsteps: 20\nweights:\n  distance: 1e3\n")
    run = read(path, ["steps=30", "data.fit=crop", "weights.style=2", "seeds=[1, 2]"], Run)
    assert (run.target, run.steps, run.seeds) == ("lorelei", 30, [1, 2])
    assert run.weights == {"distance": 1000.0, "style": 2.0}
    assert run.data == Fit(fit="crop", flip=True)


def test_plain_scalars_are_those_of_yaml_1_2(write):
    run = read(write("target: no\ngrid: {a: 1e-3, b: 12:30, c: 010, d: '5', e: 2024-01-01, f: ~}"), [], Run)
    assert run.target == "no"
    assert run.grid == {"a": 0.001, "b": "12:30", "c": 10, "d": "5", "e": "2024-01-01", "f": None}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("target: a\nstep: 3\n", "x.yaml:2: unknown key 'step'; did you mean 'steps'?"),
        ("target: a\nweigths:\n  distance: 3\n", "did you mean 'weights.distance'?"),
        ("target: a\ndata:\n  flipp: no\n", "x.yaml:3: unknown key 'data.flipp'; did you mean 'data.flip'?"),
        ("target: a\nfit: crop\n", "x.yaml:2: unknown key 'fit'; did you mean 'data.fit'?"),
        (
            "target: a\n\nsteps: many\n",
            "x.yaml:3: 'steps' is 'many', expected a whole number, at least 1, at most 10000",
        ),
        ("target: a\nsteps: 0\n", "x.yaml:2: 'steps' is 0, expected a whole number, at least 1"),
        ("target: a\nsteps: 2.5\n", "x.yaml:2: 'steps' is 2.5, expected a whole number"),
        ("target: a\nsteps: true\n", "x.yaml:2: 'steps' is true, expected a number"),
        ("target: a\nweights: {a: true}\n", "x.yaml:2: 'weights.a' is true, expected a number"),
        ("target: a\nrate: -1\n", "x.yaml:2: 'rate' is -1, expected a number, more than 0"),
        ("target: a\nrate: .nan\n", "x.yaml:2: .nan is not a finite number"),
        ("target: a\nrate: 1e999\n", "x.yaml:2: 1e999 is not a finite number"),
        ("target: [a]\n", "x.yaml:1: 'target' is a list, expected text"),
        ("target: a\nseeds:\n  - 1\n  - b\n", "x.yaml:4: 'seeds.1' is 'b', expected a whole number"),
        (
            "target: a\nseeds: []\n",
            "x.yaml:2: 'seeds' is a list, expected a list, each a whole number, 1 or more",
        ),
        ("target: a\nweights:\n  style: x\n", "x.yaml:3: 'weights.style' is 'x', expected a number"),
        (
            "target: a\ndata: {fit: krop}\n",
            "is 'krop', expected one of refuse, crop, resize; did you mean 'crop'?",
        ),
        ("target: a\ndata: 3\n", "x.yaml:2: 'data' is 3, expected a section with fit, flip"),
        ("target: a b\n", "x.yaml:1: 'target': a target's name has no spaces"),
        ("steps: 3\n", "x.yaml: 'target' is missing: text, the domain to adapt to"),
        ("target: a\nsteps: 0\nrate: 0\n", "(1 more to mend)"),
        ("target: a\ntarget: b\n", "x.yaml:2: the key 'target' stands here twice"),
        ("target: a\ngrid: [1\n", "x.yaml:3: not valid YAML"),
        ("target: &a x\n", "x.yaml:1: anchors"),
        ("target: *a\n", "x.yaml:1: anchors"),
        ("target: !!python/object:os.system x\n", "x.yaml:1: the tag"),
        ("? [a]\n: b\n", "x.yaml:1: a key is a name"),
        ("target: a\n---\ntarget: b\n", "x.yaml:2: a second document begins here"),
        ("- a\n", "x.yaml: a config is made of lines 'key: value'; this file holds a list"),
        ("grid: " + "[" * 30 + "]" * 30, "x.yaml:1: nested more than 20 deep"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(write, text, sentence):
    said = refusal(write(text))
    assert sentence in said


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("step=3", "on the command line: unknown key 'step'; did you mean 'steps'?"),
        (
            "weigths.distance=3",
            "on the command line: unknown key 'weigths.distance'; did you mean 'weights.distance'?",
        ),
        ("steps=x", "on the command line: 'steps' is 'x', expected a whole number"),
        ("data.fit=crup", "on the command line: 'data.fit' is 'crup'"),
        ("steps", "on the command line: 'steps' is not of the form key.path=value"),
        ("a..b=1", "on the command line: 'a..b=1' is not of the form key.path=value"),
        ("steps.a=1", "on the command line: 'steps.a' looks inside 5; set 'steps' whole"),
        ("seeds.0=1", "on the command line: 'seeds.0' looks inside a list; set 'seeds' whole"),
        ("seeds=[1", "on the command line: not valid YAML"),
        ("base=y.yaml", "on the command line: 'base' is set in the file"),
    ],
)
def test_a_wrong_override_says_that_it_is_on_the_command_line(write, override, sentence):
    assert sentence in refusal(write("target: a\nsteps: 5\nseeds: [3]\n"), override)


def test_an_override_reaches_a_name_with_dots(write):
    path = write("target: a\ngrid:\n  weights.self: [1, 2]\n")
    assert read(path, ["grid.weights.self=[3]"], Run).grid == {"weights.self": [3]}


def test_a_base_is_merged_by_key_and_keeps_its_own_lines(write):
    write("target: a\nsteps: 7\nweights: {distance: 5, style: 1}\nseeds: [1, 2]\n", "under.yaml")
    run = read(write("base: under.yaml\nweights: {style: 2}\nseeds: [3]\n"), [], Run)
    assert (run.target, run.steps, run.seeds, run.weights) == ("a", 7, [3], {"distance": 5, "style": 2})
    write("target: a\nsteps: -7\n", "under.yaml")
    assert refusal("x.yaml").startswith("under.yaml:2: 'steps' is -7")


def test_a_base_lies_beside_the_file_that_names_it(write):
    Path("deep").mkdir()
    write("target: a\n", "deep/under.yaml")
    write("base: under.yaml\nsteps: x\n", "deep/over.yaml")
    assert refusal("deep/over.yaml").startswith("deep/over.yaml:2: 'steps'")


def test_a_base_of_a_base_is_refused(write):
    write("target: a\n", "one.yaml")
    write("base: one.yaml\n", "two.yaml")
    assert refusal(write("\nbase: two.yaml\n")).startswith(
        "x.yaml:2: 'base' names two.yaml, which has a base itself"
    )


def test_a_missing_file_names_the_nearest(write):
    write("target: a\n", "sweep_demo.yaml")
    assert refusal("swep_demo.yaml") == "swep_demo.yaml: no such file; did you mean 'sweep_demo.yaml'?"
    assert refusal("none/x.yaml") == "none/x.yaml: no such file; the folder none is not there either"
    assert refusal(write("base: sweep_demos.yaml\n")).startswith(
        "x.yaml:1: sweep_demos.yaml: no such file; did you"
    )


def test_a_file_that_is_no_text_is_refused(write):
    Path("x.yaml").write_bytes(b"\xff\xfe\x00")
    assert refusal("x.yaml") == "x.yaml: not UTF-8 text, so not a config"
    assert "cannot be read" in refusal(".")


def test_a_check_of_free_keys_gets_file_and_line(write):
    path = write("target: a\nweights:\n  style: 1\n  distnace: 3\n")

    def check(run: Run) -> list[Problem]:
        return [Problem(f"weights.{key}", f"no weight '{key}'") for key in run.weights if key == "distnace"]

    assert refusal(path, check=check) == "x.yaml:4: no weight 'distnace'"
    write("target: a\n")
    assert refusal(path, "weights.distnace=1", check=check) == "on the command line: no weight 'distnace'"


TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="target:steps seeds[]{}&*!?|>-#'\"\\%@`,\n 0123456789.e~_\t", max_size=80),
    st.recursive(
        st.sampled_from(["1", "x", "'", "~", "1e400", "&a", "*a", "!!set", "9" * 5000]),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
            st.dictionaries(
                st.sampled_from(["target", "steps", "data", "grid", "<<", ""]), inner, max_size=3
            ).map(lambda each: "{" + ", ".join(f"{key}: {value}" for key, value in each.items()) + "}"),
        ),
        max_leaves=8,
    ),
)


@settings(max_examples=100)
@given(text=TEXTS, override=TEXTS)
@example(text='target: "\\UFFFFFFFF"', override="")
@example(text="%YAML 9" + "9" * 5000 + ".0\n---\na: b", override="")
@example(text='target: "\\ud800"', override="grid={a: {a: {}}}")
@example(text="[" * 5000, override="")
@example(text="target: a\nrate: " + "9" * 4000, override="steps=" + "9" * 400)
@example(text="target: \x00", override="")
def test_no_text_does_worse_than_a_sentence(tmp_path_factory, text, override):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for overrides in ([], [override], [f"grid={override}"]):
        with suppress(GraftError):
            read(path, overrides, Run)


def test_explain_says_meaning_unit_range_default_and_source():
    card = explain(Run, "steps")
    for line in (
        "  meaning  how long",
        "  unit     steps",
        "  range    a whole number, at least 1, at most 10000",
        "  default  100",
        "  source   Ojha 2021",
    ):
        assert line in card.splitlines()
    assert "default  true" in explain(Run, "data.flip")
    assert "must be given" in explain(Run, "target")


def test_explain_lists_a_section_and_reaches_into_free_keys():
    assert "meaning  What is done with pictures of another size." in explain(Run, "data")
    assert "    flip" in explain(Run, "data")
    found: FieldInfo = Field(1000.0, ge=0, description="pull of pairwise distances")
    inner = {"weights": {"distance": found}}
    assert "default  1000.0" in explain(Run, "weights.distance", inner)
    assert "pull of pairwise distances" in explain(Run, "weights", inner)
    with pytest.raises(
        GraftError, match=r"unknown key 'weights.distnace'; did you mean 'weights.distance'\?"
    ):
        explain(Run, "weights.distnace", inner)
    with pytest.raises(GraftError, match="did you mean 'steps'"):
        explain(Run, "step")
