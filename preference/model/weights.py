"""Which files of a directory hold a model's weights, and refusals where one is not what it says."""

import json
from pathlib import Path

from preference.core.errors import InputError
from preference.core.paths import leads_out, texts

# Where transformers looks for weights.
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt", "*.pkl")
OTHER = ("*.h5", "*.msgpack", "*.onnx", "*.npz", "*.gguf")
# Of what Git left to another program to store, the repository holds this.
POINTER = b"version https://git-lfs"


def find(directory: Path, adapter: str) -> list[Path]:
    """The safetensors with a model's weights; none where nothing in the directory speaks of any.

    Args:
        adapter: name of the file with an adapter's weights, which are no model's.

    Raises:
        InputError: weights are announced but not there, or are of a kind that is not read.
    """
    for index in directory.glob("*.safetensors.index.json"):
        _require_shards(index)
    found = sorted(file for file in directory.glob("*.safetensors") if file.name != adapter)
    for file in found:
        require_content(file)
    if not found:
        _refuse_others(directory)
    elif not any((directory / name).exists() for name in (WHOLE, INDEX)):
        raise InputError(
            f"{found[0]}: its weights are of no use alone: there is neither {WHOLE} nor {INDEX} "
            "beside it, which says what is in which file; fetch the model again"
        )
    return found


def require_content(file: Path) -> None:
    """Refuse a file of weights that is a link to nothing, or stands for a file kept elsewhere."""
    if not file.is_file():
        raise InputError(f"{file}: a link to a file that is not there; fetch the model again")
    with file.open("rb") as content:
        if content.read(len(POINTER)) == POINTER:
            raise InputError(
                f"{file}: not the weights, but Git LFS's note of where they are; run git lfs pull "
                "there, or download the file"
            )


def read_object(path: Path) -> dict[str, object]:
    """A JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected an object, as save_pretrained writes it")
    return values


def _require_shards(index: Path) -> None:
    shards = set(texts(read_object(index).get("weight_map")))
    for name in sorted(shards):
        if leads_out(name):
            raise InputError(
                f"{index}: weight_map names a file outside of the model's directory: {name!r}; "
                "do not use this model"
            )
        if not (index.parent / name).exists():
            raise InputError(
                f"{index.parent / name}: no such file, though {index.name} says that it holds "
                "weights; fetch the model again"
            )


def _refuse_others(directory: Path) -> None:
    wanted = "; save the model with save_pretrained, which writes safetensors, or set model.weights"
    for pattern in PICKLED:
        for file in sorted(directory.glob(pattern)):
            raise InputError(
                f"{file}: pickled weights can run code, so they are not read{wanted}: random if "
                "random weights are wanted"
            )
    for pattern in OTHER:
        for file in sorted(directory.glob(pattern)):
            if file.suffix == ".gguf":
                raise InputError(f"{directory}: its weights are GGUF; name the file itself: {file}")
            raise InputError(
                f"{file}: weights in a format that is not read{wanted}: random if random weights "
                "are wanted"
            )
