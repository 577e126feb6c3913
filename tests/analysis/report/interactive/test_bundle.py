"""The scripts of the page: vendored files as recorded, modules in one text, and a policy that names each."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

from vsweep.analysis.report.interactive import bundle, data


def test_vendored_files_are_those_recorded():
    record = json.loads((bundle.STATIC / "vendor" / "vendor.json").read_text(encoding="utf-8"))
    assert [library["file"]["name"] for library in record] == list(bundle.VENDOR)
    for library in record:
        assert library["licence"] == "ISC"
        for kind in ("file", "licence_file"):
            content = (bundle.STATIC / "vendor" / library[kind]["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == library[kind]["sha256"]
        assert f"v{library['version']} " in (bundle.STATIC / "vendor" / library["file"]["name"]).read_text()[:80]


def test_every_module_is_in_the_page():
    text = bundle.scripts()[-1]
    modules = [path for folder in ("modules", "laws", "figures") for path in (bundle.STATIC / folder).glob("*.js")]
    assert all(text.count(f"const module_{path.stem} = ") == 1 for path in modules)
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)


def test_a_module_comes_after_what_it_imports(tmp_path):
    (tmp_path / "a.js").write_text('import { b as c } from "./b.js";\nc();\n')
    (tmp_path / "b.js").write_text("export function b() {}\n")
    text = bundle.bundled(tmp_path / "a.js")
    assert text.index("module_b = ") < text.index("module_a = ")
    assert "const { b: c } = module_b;" in text


def test_a_circle_of_modules_is_refused(tmp_path):
    for one, other in ("ab", "ba"):
        (tmp_path / f"{one}.js").write_text(f'import {{ x }} from "./{other}.js";\n')
    with pytest.raises(ValueError, match="import each other"):
        bundle.bundled(tmp_path / "a.js")


@pytest.mark.parametrize("line", ["export default 1;", 'import * as x from "./b.js";', "const x = '</script>';"])
def test_forms_the_page_cannot_hold_are_refused(tmp_path, line):
    (tmp_path / "a.js").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"a\.js: a form"):
        bundle.bundled(tmp_path / "a.js")


def test_comments_and_indentation_stay_at_home(tmp_path):
    (tmp_path / "a.js").write_text("// A note.\n\nexport function a() {\n  // Why.\n  return 'http://x';\n}\n")
    text = bundle.bundled(tmp_path / "a.js")
    assert "note" not in text
    assert "function a() {\nreturn 'http://x';\n}\n" in text


def test_the_policy_names_each_script_and_no_other():
    policy = bundle.policy(("one", "two"))
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (b"one", b"two")]
    assert f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';" in policy
    assert policy.startswith("default-src 'none'; ")


def test_numbers_end_no_script():
    text = data.as_json({"run": ["</script><!--", "\u2028&"], "loss": [float("nan"), 1.5]})
    assert "<" not in text
    assert json.loads(text) == {"run": ["</script><!--", "\u2028&"], "loss": [None, 1.5]}


def test_the_scripts_are_valid():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    for text in bundle.scripts():
        assert subprocess.run([node, "--check", "-"], input=text.encode(), capture_output=True).returncode == 0
