"""Methods that are not built in: registered by a call, or found in installed packages."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from clip_adapter.errors import DataError, UnknownNameError
from clip_adapter.methods import (
    METHODS,
    Candidate,
    FewShotTask,
    Fitted,
    Method,
    PerTaskMethod,
    PrototypeClassifier,
    create_method,
    fit_method,
    register,
    registry,
    settings_of,
    third_party_sources,
)
from clip_adapter.pipeline.provenance import digest_values
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import TrainRequest
from clip_adapter.pipeline.train import requested_methods
from clip_adapter.training import SettingsError, TrainingSettings

Install = Callable[..., None]

METHOD = """
from dataclasses import dataclass
from clip_adapter.methods import PerTaskMethod

@dataclass(frozen=True)
class Plugin(PerTaskMethod):
    name = {name!r}
    strength: float = 1.0

    def fit_task(self, task):
        raise NotImplementedError
"""


@dataclass(frozen=True)
class Mine(PerTaskMethod):
    name: ClassVar[str] = "mine"

    width: int = 3
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.width < 1:
            message = f"width is {self.width}; expected 1 or more"
            raise ValueError(message)

    def fit_task(self, task: FewShotTask) -> Fitted:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _forgets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", {})
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.fixture(name="install")
def _install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package with an entry point, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, code: str, *, name: str = "plugin", value: str = "") -> None:
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        entry = f"[clip_adapter.methods]\n{name} = {value or module + ':Plugin'}\n"
        (info / "entry_points.txt").write_text(entry)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def test_a_registered_method_is_made_by_its_name() -> None:
    assert register(Mine) is Mine
    assert METHODS["mine"] is Mine
    assert list(METHODS)[-1] == "mine"
    assert len(METHODS) == len(list(METHODS))
    made = create_method("mine", {"width": "5", "epochs": 7})
    assert made == Mine(width=5, training=TrainingSettings(epochs=7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": "wide"}, "mine: width is 'wide': .*integer"),
        ({"width": 0}, "mine: width is 0; expected 1 or more"),
        ({"epochs": 0}, "mine: epochs is 0"),
    ],
)
def test_its_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    register(Mine)
    with pytest.raises(SettingsError, match=message):
        create_method("mine", settings)


def test_the_nearest_of_its_settings_is_suggested() -> None:
    register(Mine)
    with pytest.raises(UnknownNameError, match=r"unknown setting of mine 'widht': .*'width'"):
        create_method("mine", {"widht": 1})


def test_a_class_that_is_defined_again_replaces_itself() -> None:
    register(Mine)
    again = type("Mine", (Mine,), {"__module__": __name__, "__qualname__": "Mine"})
    assert register(dataclass(frozen=True)(again)) is METHODS["mine"] is not Mine


@pytest.mark.parametrize("taken", ["mine", "zero-shot"])
def test_a_name_that_is_taken_is_refused(taken: str) -> None:
    register(Mine)

    @dataclass(frozen=True)
    class Other(Mine):
        name: ClassVar[str] = taken

    with pytest.raises(SettingsError, match=f"the name '{taken}' of .*Other is taken by clip|Mine"):
        register(Other)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "Mine"}, "has no `name` of lower-case"),
        ({"name": "my.method"}, "has no `name` of lower-case"),
        ({"name": "all"}, "has no `name` of lower-case"),
    ],
)
def test_a_class_that_is_no_method_is_refused(changes: dict[str, Any], problem: str) -> None:
    broken = dataclass(frozen=True)(type("Broken", (Mine,), {"__module__": __name__, **changes}))
    with pytest.raises(SettingsError, match=f"Broken cannot be a method, it {problem}.*: expected"):
        register(broken)


def test_a_class_without_its_functions_is_refused() -> None:
    @dataclass(frozen=True)
    class Unfinished(Method):
        name: ClassVar[str] = "unfinished"

    with pytest.raises(
        SettingsError, match="Unfinished cannot be a method, it does not define fit"
    ):
        register(Unfinished)


def test_an_ordinary_class_is_refused() -> None:
    with pytest.raises(SettingsError, match="it does not derive from Method"):
        register(type("Plain", (), {}))
    with pytest.raises(SettingsError, match="5 cannot be a method, it is no class"):
        register(5)  # type: ignore[type-var]  # what is refused


def test_code_that_cannot_be_read_is_refused() -> None:
    unread: dict[str, Any] = {"__name__": "__unread__"}
    exec(METHOD.format(name="unread"), unread)  # noqa: S102  # as typed at a prompt
    with pytest.raises(SettingsError, match=r"source code of __unread__.Plugin cannot be read"):
        register(unread["Plugin"])


def test_the_sources_of_a_method_are_those_of_its_module() -> None:
    assert third_party_sources(Mine) == [Path(__file__).read_text()]
    assert third_party_sources(METHODS["clip-adapter"]) == []


def test_the_sources_of_a_method_in_a_package_are_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packaged"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("SCALE = 2")
    (package / "deep" / "method.py").write_text(METHOD.format(name="packaged"))
    monkeypatch.syspath_prepend(tmp_path)
    from packaged.deep.method import Plugin  # type: ignore[import-not-found]  # noqa: PLC0415

    assert set(third_party_sources(Plugin)) == {"", "SCALE = 2", METHOD.format(name="packaged")}


def test_an_installed_method_is_found_without_an_import(install: Install) -> None:
    install("some-plugin", METHOD.format(name="plugin"))
    assert "plugin" in METHODS
    assert "some_plugin" not in sys.modules
    assert create_method("zero-shot") == METHODS["zero-shot"]()
    assert "some_plugin" not in sys.modules
    assert vars(create_method("plugin", {"strength": 2})) == {"strength": 2.0}
    assert METHODS["plugin"] is METHODS["plugin"]


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        ("import no_such_module", {}, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", {}, "AttributeError: module .* has no attribute 'Plugin'"),
        ("Plugin = 5", {}, "5 cannot be a method, it is no class"),
        (METHOD.format(name="other"), {}, "is called 'other', its entry point 'plugin'"),
    ],
)
def test_a_broken_package_is_named(
    install: Install, code: str, options: dict[str, str], message: str
) -> None:
    install("broken-plugin", code, **options)
    assert create_method("linear-probe")
    with pytest.raises(SettingsError, match=rf"broken-plugin \(broken_plugin:Plugin\).*{message}"):
        create_method("plugin")


def test_a_package_cannot_take_the_name_of_a_built_in_method(install: Install) -> None:
    install("greedy-plugin", METHOD.format(name="zero-shot"), name="zero-shot")
    with pytest.raises(
        SettingsError, match=r"methods are called 'zero-shot': a built-in one and .* greedy-plugin"
    ):
        create_method("zero-shot")
    assert create_method("linear-probe")


def test_two_packages_cannot_share_a_name(install: Install) -> None:
    for package in ("plugin-a", "plugin-b"):
        install(package, METHOD.format(name="plugin"))
    with pytest.raises(SettingsError, match=r"called 'plugin': those of plugin-a .*, plugin-b"):
        create_method("plugin")


def test_a_registered_method_and_an_installed_one_cannot_share_a_name(install: Install) -> None:
    install("late-plugin", METHOD.format(name="mine"), name="mine")
    register(Mine)
    with pytest.raises(SettingsError, match=r"late_plugin.Plugin is taken by .*Mine"):
        create_method("mine")


def test_listing_methods_imports_no_package(install: Install, tmp_path: Path) -> None:
    install("listed-plugin", METHOD.format(name="plugin"))
    code = (
        "import sys; from clip_adapter.methods import METHODS; "
        "assert 'plugin' in list(METHODS) and 'listed_plugin' not in sys.modules"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    subprocess.run(command, check=True)


def test_the_command_lists_a_broken_package_beside_the_other_methods(
    install: Install, command: Callable[..., Any]
) -> None:
    install("broken-plugin", "import no_such_module")
    listed = json.loads(command("methods", "--json").out)
    assert listed["plugin"]["what_it_is"].startswith(
        "cannot be used: the method 'plugin' of broken"
    )
    assert "max_iterations" in listed["linear-probe"]["settings"]


unchecked_fit: Any = inspect.unwrap(fit_method)


def failing(*, returns: list[Any] | None = None) -> Any:
    """A method whose `fit` raises, or returns something."""

    @dataclass(frozen=True)
    class Failing(Method):
        name: ClassVar[str] = "failing"

        def fit(self, *_: Any, **__: Any) -> list[Fitted]:
            if returns is None:
                message = "singular matrix"
                raise KeyError(message)
            return returns

    return Failing()


CLASSIFIER = PrototypeClassifier(
    class_prototypes=np.eye(2, dtype=np.float32), logit_scale=100.0, class_names=("a", "b")
)
WORDS = Candidate(settings={"kind": 1.0}, validation_accuracy=1.0, validation_nll=1.0)
vars(WORDS)["settings"] = {"kind": "a"}  # whose type only the tests check


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (None, "failing raised KeyError: 'singular matrix'"),
        ([], "failing returned 0 of Fitted for 1 tasks: expected one Fitted for each"),
        ([3], "failing returned 1 of int for 1 tasks"),
        ([Fitted(classifier=CLASSIFIER, candidates=(WORDS,))], "failing tried kind = 'a'"),
    ],
)
def test_what_a_method_does_wrong_is_an_error_of_that_method(
    returns: list[Any] | None, message: str
) -> None:
    task: Any = None
    with pytest.raises(DataError, match=message):
        unchecked_fit(failing(returns=returns), [task])


def test_settings_that_a_method_returns_are_plain() -> None:
    chosen: Any = {"rate": np.float32(0.5), "place": Path("a"), "grid": np.arange(2)}
    task: Any = None
    (fitted,) = unchecked_fit(
        failing(returns=[Fitted(classifier=CLASSIFIER, settings=chosen)]), [task]
    )
    assert fitted.settings == {"rate": 0.5, "place": "a", "grid": [0, 1]}


def test_the_training_of_a_registered_method_is_recorded() -> None:
    register(Mine)
    assert settings_of(create_method("mine", {"epochs": 7})) == {
        "width": 3,
        "recipe": "paper",
        "epochs": 7,
    }


def test_a_setting_that_is_no_number_is_refused() -> None:
    with pytest.raises(
        SettingsError, match="clip-adapter: learning_rate is nan: expected a finite"
    ):
        create_method("clip-adapter", {"learning_rate": float("nan")})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": (str, "odd")}, "has name as a setting, annotate it as ClassVar"),
        ({"rate": (float, MISSING)}, "has no default for rate"),
        (
            {"epochs": (int, 3), "training": (TrainingSettings, TrainingSettings())},
            "has epochs as its own setting and as one of its training",
        ),
    ],
)
def test_fields_that_are_no_settings_are_refused(
    fields: dict[str, tuple[type, Any]], message: str
) -> None:
    space = {name: default for name, (_, default) in fields.items() if default is not MISSING}
    space |= {"name": "odd", "fit_task": Mine.fit_task, "__module__": __name__}
    space["__annotations__"] = {name: kind for name, (kind, _) in fields.items()}
    with pytest.raises(SettingsError, match=message):
        register(dataclass(frozen=True)(type("Odd", (PerTaskMethod,), space)))


def test_one_package_that_cannot_be_loaded_does_not_hinder_all_methods(install: Install) -> None:
    install("odd-package", "raise RuntimeError('no licence')")
    warned: list[str] = []
    reporter = Reporter()
    reporter.warn = warned.append  # type: ignore[method-assign]  # noted instead
    request = TrainRequest.of(dataset="digits", methods=["all"])
    methods = requested_methods(request, reporter=reporter)
    assert "plugin" not in {method.name for method in methods}
    assert len(methods) == len(list(METHODS)) - 1
    assert "no licence" in warned[0]


def test_equal_settings_have_one_digest_in_every_process() -> None:
    program = (
        "from clip_adapter.pipeline.provenance import digest_values;"
        "print(digest_values(kinds={'a', 'b', 'c', 'd', 'e'}, place=__import__('pathlib').Path('x')))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    with pytest.raises(SettingsError, match="a setting is a object, by which runs cannot be told"):
        digest_values(odd=object())


@dataclass(frozen=True)
class Choosing(PerTaskMethod):
    name: ClassVar[str] = "choosing"

    @property
    def n_candidates(self) -> int:
        return 2

    def fit_task(self, task: FewShotTask) -> Fitted:
        raise NotImplementedError


def test_a_method_of_several_candidates_asks_for_validation_images(
    make_task: Callable[..., FewShotTask],
) -> None:
    task = make_task(shots=2)
    empty = replace(task, val_features=task.val_features[:0], val_labels=task.val_labels[:0])
    assert Choosing().needs_validation(task)
    with pytest.raises(DataError, match="validation"):
        Choosing().fit([empty])
