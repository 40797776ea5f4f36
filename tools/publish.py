"""publish: upload the policy with its card to the Hugging Face Hub.

Without --push nothing is sent: it shows what would go, and where. Weights (safetensors), configs,
tokenizer and chat template go, and the card as README.md; no data, and no answers. All goes in one
commit, or nothing does.
"""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from preference.core import stage
from preference.core.errors import InputError, first_line
from tools.git import git
from tools.policy import BAD, FILES, POLICY, README, card, files, verdict, whole

MADE_FROM = ("params.yaml", "dvc.yaml", "dvc.lock", "preference", "stages", "results")
SHOWN = 12  # lines of the card


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("repo", help="where to: OWNER/NAME on the Hub; made if it is not there")
    parser.add_argument("--push", action="store_true", help="do it; otherwise only show it")
    public = "for everybody to see (default: private)"
    parser.add_argument("--public", action="store_true", help=public)
    force = f"also where the verdict on its training is {' or '.join(BAD)}"
    parser.add_argument("--force", action="store_true", help=force)


def contents(repo: str, directory: Path) -> dict[str, Path | bytes]:
    """What goes to the Hub: a model's files, by their names there, and the card."""
    return {**{file.name: file for file in files(directory)}, README: card(repo).encode()}


def require_repo(repo: str) -> None:
    """Refuse what is no id of a repository with an owner."""
    try:
        validate_repo_id(repo)
        wrong = "" if repo.count("/") == 1 else "it needs an owner and a name"
    except HFValidationError as error:
        wrong = str(error)
    if wrong:
        raise InputError(f"REPO={repo}: {wrong}; write make publish REPO=owner/name")


def push(repo: str, what: Mapping[str, Path | bytes], private: bool) -> str:
    """Make the repository if it is not there, and put files into it, in one commit.

    Weights, configs and tokenizer files of an earlier model that are not among them are deleted.

    Returns:
        The address of the commit.

    Raises:
        InputError: the Hub cannot be reached, refuses, or others see the repository than should.
    """
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        found = api.model_info(repo)
        _require_visibility(repo, private, is_private=bool(found.private))
        there = {file.rfilename for file in found.siblings or []} - {*what}
        stale = [f for f in there if "/" not in f and any(fnmatch(f, p) for p in FILES)]
        operations = [CommitOperationDelete(path_in_repo=name) for name in stale]
        operations += [CommitOperationAdd(name, content) for name, content in what.items()]
        done = api.create_commit(repo, operations, commit_message=f"Upload {POLICY.name}")
    except InputError:
        raise
    except Exception as error:
        # The client raises errors of several libraries; all mean the same here.
        raise InputError(
            f"Hub model {repo}: cannot be published ({first_line(error)}). Check the network, the "
            "id, and that hf auth login was done with a token that may write there. All goes in "
            "one commit: the repository has all of it, or nothing"
        ) from error
    return str(done.commit_url)


def _require_visibility(repo: str, private: bool, *, is_private: bool) -> None:
    """Refuse a repository that others see although they should not, or the other way round."""
    if private and not is_private:
        raise InputError(
            f"{repo}: is there already, and everybody can see it; write PUBLIC=1 if that is meant, "
            "or take another name"
        )
    if is_private and not private:
        raise InputError(
            f"{repo}: is there already, and it is private; leave PUBLIC=1 out, or make it public "
            "in its settings on the Hub first"
        )


def offer(args: Namespace, what: Mapping[str, Path | bytes], word: str) -> None:
    """Show what would go to the Hub, and with --push put it there.

    Args:
        word: the verdict on it.
    """
    print(f"{args.repo} ({'public' if args.public else 'private'}): {word}")
    for name, content in what.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        print(f"{size:>16,} {name}")
    lines = card(args.repo).splitlines()
    print(f"{README}:", *(f"    {line}".rstrip() for line in [*lines[:SHOWN], "..."]), sep="\n")
    if args.push:
        print(push(args.repo, what, private=not args.public))
        return
    print("Nothing was sent. To publish it, write the same with PUSH=1 (python: --push).")


def main(args: Namespace) -> None:
    require_repo(args.repo)
    word = verdict(args.force)
    if git("status", "--porcelain", "--", *MADE_FROM):
        logging.warning(
            "params, code or results are not committed: nobody can see later what made this model"
        )
    with whole(POLICY) as directory:
        offer(args, contents(args.repo, directory), word)


if __name__ == "__main__":
    # It changes nothing here, so others may go on beside it.
    stage.run(main, arguments=arguments, network=lambda args: args.push, lock=None)
