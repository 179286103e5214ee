"""Every sentence of SECURITY.md has a test, and the test exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# words of a sentence: the tests that fail if it is not true, as file::function
TESTS = {
    "No code of a model is run": ["models/test_pretrained.py::test_code_of_a_folder_is_never_run"],
    "Weights are safetensors": ["contract/test_no_pickle.py::test_model_folder"],
    "A .bin file is read only where": [
        "encoders/test_weights.py::test_safetensors_come_first_and_damaged_ones_are_an_error",
        "models/test_pretrained.py::test_a_damaged_safetensors_file_is_no_reason_to_read_a_pickle",
    ],
    "never unpickles data": ["contract/test_no_pickle.py::test_no_source_file_opens_what_could_run_code"],
    "Only a name that begins with hub:": [
        "encoders/test_checkpoints.py::test_a_name_of_the_hub_is_told_apart_from_a_folder",
        "contract/test_security.py::test_modules_that_use_the_network",
    ],
    "binds the address that it is given": [
        "wakeword/runtime/test_wyoming_server.py::test_a_client_next_to_hostile_ones",
        "contract/test_security.py::test_modules_that_use_the_network",
    ],
    "The Wyoming server bounds": [
        "wakeword/runtime/test_wyoming_connection.py::test_what_is_no_event_is_answered_and_ends_the_connection",
        "wakeword/runtime/test_wyoming_connection.py::test_the_oldest_idle_connection_is_closed_for_a_new_one",
    ],
    "No command replaces a file": ["cli/test_outputs.py::test_files_of_the_user_are_never_replaced"],
    "YAML is read without tags": [
        "config/test_loading.py::test_aliases_that_stand_for_billions_of_values",
        "config/test_validation_errors.py::test_one_clear_message",
    ],
    "embeds only audio": ["cli/test_score_printing.py::test_only_audio_is_embedded"],
    "Memory for audio is bounded": ["data/test_audio_stream.py::test_any_rate_is_read_in_the_memory_of_the_file"],
    "escaped in HTML reports": [
        "report/test_html.py::test_hostile_texts_stay_text",
        "wakeword/evaluation/test_report.py::test_the_report_plays_what_went_wrong_and_escapes_what_people_wrote",
    ],
    "Control characters and markup": [
        "test_escaping.py::test_no_control_character_is_left",
        "contract/test_terminal_output.py::test_a_module_prints_through_the_functions_that_escape",
    ],
}

# calls that open a connection or listen, and the modules that have them: the hub's, and the wake word's server
NETWORK = re.compile(
    r"snapshot_download|hf_hub_download|HfApi\(|urlopen|AsyncServer\.from_uri|create_connection|requests\.|httpx\.(get|post)"
)
NETWORK_MODULES = {"data/hub.py", "encoders/hub.py", "wakeword/runtime/wyoming_server.py"}


def list_sentences() -> list[str]:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8").replace("`", "")
    return [line[2:] for line in text.splitlines() if line.startswith("- ")]


def test_every_sentence_has_its_tests() -> None:
    sentences = list_sentences()
    matches = [[words for words in TESTS if words in sentence] for sentence in sentences]
    assert [len(found) for found in matches] == [1] * len(sentences)
    assert sorted(words for found in matches for words in found) == sorted(TESTS)


def test_the_tests_exist() -> None:
    for names in TESTS.values():
        for name in names:
            path, function = name.split("::")
            source = (ROOT / "tests" / path).read_text(encoding="utf-8")
            assert re.search(rf"def {re.escape(function)}", source), name


def test_modules_that_use_the_network() -> None:
    """Further calls are found here, and need a sentence of SECURITY.md."""
    package = ROOT / "speechxfer"
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if NETWORK.search(path.read_text(encoding="utf-8"))
    }
    assert found == NETWORK_MODULES
