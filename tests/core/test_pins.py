"""Hub ids are used at a commit, and at nothing that can move."""

import pytest

from preference.core.errors import InputError
from preference.core.pins import require_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("name", ["gpt2", "some-one/pairs_2.0"])
def test_a_commit_is_a_pin(name: str) -> None:
    assert require_commit(name, COMMIT, "where", "data.revision") == COMMIT


@pytest.mark.parametrize(
    "revision", [None, "", "main", "v1.0", COMMIT[:-1], COMMIT.upper(), f"{COMMIT}0"]
)
def test_a_revision_that_is_no_commit_is_refused(revision: str | None) -> None:
    with pytest.raises(
        InputError, match=r"^where: 'someone/pairs' is no file.*data\.revision"
    ) as e:
        require_commit("someone/pairs", revision, "where", "data.revision")
    assert f"must pin it to a commit of 40 hex digits (it is {revision!r})" in str(e.value)


@pytest.mark.parametrize("name", ["some one's pairs", "a/b/c", "a/", ""])
def test_what_can_be_no_hub_id_is_no_file_either(name: str) -> None:
    with pytest.raises(InputError, match=r"^where: .*: no such file or directory$"):
        require_commit(name, COMMIT, "where", "data.revision")
