"""The commands on trees of terms, from file to file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embedmill.taxonomy.formats.registry import read_tree
from tables import Within
from test_options import within

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = ("bread", "rose", "stone", "water", "lamp", "wolf")


@pytest.fixture
def shell(tmp_path: Path) -> Within:
    lines = [f"{word} number {number}" for number in range(30) for word in WORDS]
    (tmp_path / "terms.txt").write_text("\n".join([*lines, "bread number 1", "# no term", "no", "2012-01-01"]))
    return within(tmp_path)


def terms_of(path: Path) -> Counter[str]:
    return read_tree(path).term_counts()


def arranged(shell: Within, *more: str) -> dict[str, Any]:
    done = shell.run("arrange", "terms.txt", "-o", "terms.yaml", "--json", "--threshold", "-1", *more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_list_becomes_a_tree_of_the_same_terms_and_stays_one(shell: Within) -> None:
    found = arranged(shell)
    target = shell.folder / "terms.yaml"
    assert terms_of(target) == terms_of(shell.folder / "terms.txt")
    assert found["after"]["longest"] <= 40 and found["after"]["terms"] == 183
    assert [set(group) for group in found["groups"]] == [{"path", "terms", "cohesion", "medoid", "name_from"}] * len(
        found["groups"]
    )
    before = target.read_bytes()
    assert shell.run("arrange", "terms.yaml", "-o", "terms.yaml", "--threshold", "-1").returncode == 0
    assert target.read_bytes() == before
    compared = shell.run("compare", "terms.txt", "terms.yaml", "--at-least", "jaccard=1")
    assert compared.returncode == 0, compared.stdout


def test_the_file_is_the_same_with_any_number_of_workers_and_without_the_cache(shell: Within) -> None:
    written = []
    for more in (["--workers", "1"], ["--workers", "2", "--no-cache"], ["--executor", "processes", "--workers", "2"]):
        arranged(shell, *more)
        written.append((shell.folder / "terms.yaml").read_bytes())
    assert len(set(written)) == 1


def test_terms_are_embedded_once_and_kept_in_the_cache(shell: Within) -> None:
    first, again = arranged(shell), arranged(shell)
    assert (first["embedded"], first["cached"], first["duplicates"]) == (182, 0, 0)
    assert (again["embedded"], again["cached"], again["misses"]) == (0, 182, 0)
    assert again["groups"] == first["groups"]
    assert arranged(shell, "--no-cache")["embedded"] == 182


def test_short_lists_need_no_model(shell: Within) -> None:
    (shell.folder / "short.txt").write_text("fox\nwolf\n")
    done = shell.run("arrange", "short.txt", "-o", "short.yaml", "--model", "nowhere/none")
    assert done.returncode == 0, done.stderr
    assert shell.run("lint", "short.txt", "--model", "nowhere/none").returncode == 1


def test_a_prompt_is_put_before_terms(shell: Within) -> None:
    """So that they are other texts to the cache."""
    arranged(shell)
    assert arranged(shell, "--document-prompt", "label: ")["embedded"] == 182
    assert shell.run("lint", "terms.txt", "--document-prompt", "label: ").returncode == 3


def test_new_groups_have_comments(shell: Within) -> None:
    arranged(shell)
    text = (shell.folder / "terms.yaml").read_text()
    assert "terms, cohesion 0." in text or "terms, cohesion 1.00" in text
    (shell.folder / "glosses.csv").write_text("".join(f"{word},what {word} is\n" for word in WORDS))
    arranged(shell, "--comment-template", "# instruction: {text}", "--glosses", "glosses.csv")
    lines = (shell.folder / "terms.yaml").read_text().splitlines()
    comments = [line.strip() for line in lines if line.strip().startswith("#") and "no term" not in line]
    assert comments and all(line.startswith("# instruction: ") for line in comments)
    assert any(line.startswith("# instruction: what ") for line in comments)


def test_an_instruction_survives_arranging(shell: Within) -> None:
    many = "".join(f"    - {word} {number}\n" for number in range(10) for word in WORDS)
    (shell.folder / "own.yaml").write_text(
        f"# head\nthings:\n  # instruction: only real ones\n  all of them: # beside\n{many}"
    )
    assert shell.run("arrange", "own.yaml", "-o", "own.yaml", "--threshold", "-1").returncode == 0
    text = (shell.folder / "own.yaml").read_text()
    assert text.startswith("# head\nthings:\n  # instruction: only real ones\n  all of them: # beside\n")
    assert terms_of(shell.folder / "own.yaml").total() == 60


def test_an_alias_stays_one(shell: Within) -> None:
    many = "".join(f"  - {word} {number}\n" for number in range(10) for word in WORDS)
    (shell.folder / "own.yaml").write_text(f"one: &shared\n{many}two: *shared\n")
    before = terms_of(shell.folder / "own.yaml")
    done = shell.run("arrange", "own.yaml", "-o", "own.yaml", "--json", "--threshold", "-1")
    assert done.returncode == 0, done.stderr
    assert all(group["path"][0] == "one" for group in json.loads(done.stdout)["groups"])
    text = (shell.folder / "own.yaml").read_text()
    assert text.startswith("one: &shared\n") and text.endswith("\ntwo: *shared\n")
    assert terms_of(shell.folder / "own.yaml") == before


def test_overrides_of_a_file_hold_below_a_branch(shell: Within) -> None:
    inner = "".join(f"    - {word} {number}\n" for number in range(10) for word in WORDS)
    (shell.folder / "own.yaml").write_text(f"one:\n{inner}two:\n{inner}")
    (shell.folder / "over.yaml").write_text("two: {max-leaf: 60}\n")
    line = ["arrange", "own.yaml", "--dry-run", "--json", "--threshold", "-1", "--overrides", "over.yaml"]
    found = json.loads(shell.run(*line).stdout)
    assert found["groups"] and {group["path"][0] for group in found["groups"]} == {"one"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("two: {max-leaf: x}", "two: max-leaf is 'x': give a whole number"),
        ("two: {threshold: 3}", "two: threshold is '3': give a cosine"),
        ("two: {max-leave: 3}", "there is no option 'max-leave'; did you mean 'max_leaf'?"),
        ("two: {max-leaf: [1, 2]}", "max-leaf has not one value"),
        ("[a, b]", "expected names, each with a value"),
    ],
)
def test_overrides_that_do_not_fit(text: str, words: str, shell: Within) -> None:
    (shell.folder / "over.yaml").write_text(text)
    done = shell.run("arrange", "terms.txt", "--dry-run", "--overrides", "over.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and words in done.stderr


def test_lint_says_what_it_found_and_what_it_took(shell: Within) -> None:
    tree = "a:\n  - fox # first\n  - fox # first\n  - wolf\nb: []\nc:\n  - wolf\n  - oak\n"
    (shell.folder / "tree.yaml").write_text(tree)
    found = shell.run("lint", "tree.yaml", "--no-meaning")
    assert found.returncode == 3
    assert found.stdout.splitlines() == [
        "double: 'fox' stands 2 times in a",
        "sense: 'wolf' stands in a and c: it may mean two things",
        "empty: b has nothing below it",
        "3 findings: 1 double, 1 sense, 1 empty",
    ]
    fixed = shell.run("lint", "tree.yaml", "--no-meaning", "--fix")
    assert fixed.returncode == 3 and "taken out: 'fox' of a\ntaken out: 'b' of the top\n" in fixed.stdout
    assert (shell.folder / "tree.yaml").read_text() == "a:\n  - fox # first\n  - wolf\nc:\n  - wolf\n  - oak\n"


def test_a_file_that_does_not_parse_is_a_finding_with_its_place(shell: Within) -> None:
    (shell.folder / "tree.yaml").write_text("a:\n\t- fox\n")
    done = shell.run("lint", "tree.yaml", "--json")
    (finding,) = json.loads(done.stdout)["findings"]
    assert done.returncode == 3 and finding["kind"] == "unreadable"
    assert "tree.yaml" in finding["message"] and "2" in finding["message"]


def test_analyze_tells_which_limits_follow(shell: Within) -> None:
    assert shell.run("analyze", "terms.txt").stdout.splitlines() == [
        "terms     183, 182 of them distinct",
        "branches  0, 0 deep",
        "lists     1, of 183 to 183 terms, 183 in the median",
        "mixed     0 branches with terms beside branches",
        "limits    --max-leaf 183, --min-leaf 183: 9 of 10 lists keep each",
    ]


@pytest.mark.skipif(not DATA.is_dir(), reason="the data is not here")
@pytest.mark.parametrize("more", [[], ["--flatten"], ["--shape"], ["--depth", "3"], ["--preset", "ultra-detailed"]])
@pytest.mark.parametrize("name", ["tencent_ml_images_hierarchy.txt", "imagenet2012_dictionary.txt"])
def test_no_term_of_a_real_list_is_lost(name: str, more: list[str], shell: Within) -> None:
    before = read_tree(DATA / name)
    done = shell.run("arrange", DATA / name, "-o", "out.yaml", "--model", "test:32", *more)
    assert done.returncode == 0, done.stderr
    expected = before.term_counts()
    if more in (["--flatten"], ["--depth", "3"]):  # branches that are known by an identifier are terms as well
        after = read_tree(shell.folder / "out.yaml").term_counts()
        names = Counter(branch.name for _, branch in before.walk() if branch.id)
        assert not expected - after and not after - expected - names
        assert more != ["--flatten"] or after == expected + names
    else:
        assert read_tree(shell.folder / "out.yaml").term_counts() == expected
