"""The house's import rules, read from the source: `pipelines` imports `assets` imports `cosmos_ops`, never backwards."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cosmos_ops", "assets", "pipelines")
FORBIDDEN = {
    "cosmos_ops": {"dagster", "assets", "pipelines", "dagster_webserver"},
    "assets": {"pipelines"},
    "pipelines": set(),
}
HEAVY = {
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "mlflow",
    "great_expectations",
    "av",
    "webdataset",
    "pandas",
    "cv2",
    "matplotlib",
    "ray",
    "dagster_ray",
    "kubernetes",
    "dagster_k8s",
}
PIPES_PROGRAM = ROOT / "cosmos_ops/training/__main__.py"
OPENGL_CHOICE = ROOT / "cosmos_ops/simulate/rendering.py"


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(nodes) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            names.add(node.module.split(".")[0])
    return names


def module_level(tree: ast.Module):
    """Statements that run on import: everything outside functions, `if TYPE_CHECKING` left out."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.ExceptHandler))]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_goes_backwards(package):
    for path in sources(package):
        found = imported(ast.walk(ast.parse(path.read_text())))
        assert not found & FORBIDDEN[package], f"{path.relative_to(ROOT)} imports {found & FORBIDDEN[package]}"


def test_only_the_training_program_knows_pipes():
    for path in sources("cosmos_ops"):
        if path != PIPES_PROGRAM:
            assert "dagster_pipes" not in imported(ast.walk(ast.parse(path.read_text()))), path
    assert "dagster_pipes" in imported(ast.walk(ast.parse(PIPES_PROGRAM.read_text())))


@pytest.mark.parametrize("package", ("assets", "pipelines"))
def test_heavy_libraries_are_imported_inside_functions(package):
    for path in sources(package):
        found = imported(module_level(ast.parse(path.read_text())))
        assert not found & HEAVY, f"{path.relative_to(ROOT)} imports {found & HEAVY} at module level"


def test_the_library_reads_no_environment():
    for path in sources("cosmos_ops"):
        tree = ast.parse(path.read_text())
        reads = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and isinstance(node.value, ast.Name) and node.value.id == "os"
        ]
        # The Pipes protocol is made of environment variables, and MuJoCo learns its OpenGL backend from one.
        allowed = path in (PIPES_PROGRAM, OPENGL_CHOICE)
        assert allowed or not reads, f"{path.relative_to(ROOT)}:{reads[0].lineno if reads else ''} reads the environment"


def test_environment_variables_are_read_in_one_place():
    for package in ("assets", "pipelines"):
        for path in sources(package):
            text = path.read_text()
            if path.name not in ("environments.py", "launcher.py"):  # the launcher passes the environment on to its child
                assert "os.environ" not in text and "getenv" not in text, path


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell():
    """What comes from outside is data. `torch.load` is allowed for weights alone, `yaml.load` with a loader that makes plain values."""
    forbidden = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
    for package in PACKAGES:
        for path in sources(package):
            tree = ast.parse(path.read_text())
            where = path.relative_to(ROOT)
            assert not imported(ast.walk(tree)) & forbidden, where
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                name, said = ast.unparse(call.func), ast.unparse(call)
                assert name not in ("eval", "exec", "os.system", "os.popen"), f"{where}:{call.lineno}"
                assert "shell=True" not in said and "allow_pickle=True" not in said and "trust_remote_code=True" not in said, f"{where}:{call.lineno}"
                assert name != "torch.load" or "weights_only=True" in said, f"{where}:{call.lineno}"
                assert name != "yaml.load" or "SafeLoader" in said, f"{where}:{call.lineno}"
