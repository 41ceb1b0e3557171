"""The child process that fetches one model from the Hub. Requests come in on stdin, events go out on stdout, JSON lines both.

    {repo, name, revision, token}  ->  {event: "found", revision: 40 digits, names: of all files there}
    {folder}                       ->  {event: "plan", files: {name: bytes}, config: config.json as read}
    {}                             ->  {event: "done"}, all of these files being in that folder, every byte verified

or, at any time, {error: a class of core.errors, facts}. Other events only say that it is busy. It ends when stdin does, and
so with its parent, however that ends. What an earlier child left in the folder is verified and completed.

huggingface_hub's own download cannot do this: it sleeps as long as the Hub tells it to (an hour, with 429), starts anew what
was interrupted (since 2.0), and believes whatever bytes come. Only its addresses, headers and session are used here.
"""

import errno
import hashlib
import json
import math
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from core import errors, limits
from core.checkpoints import INDEX, WEIGHTS

WANTED = (  # beside the weights, in the root of the repository
    "config.json", "generation_config.json", "*processor_config.json", "tokenizer*.json", "*tokens*.json", "vocab*.json",
    "vocab*.txt", "merges.txt", "bpe.codes", "*.model", "*.spm", "*.tiktoken", "chat_template.json", "*.jinja",
)  # fmt: skip
WAIT = httpx2.Timeout(limits.SILENT_SECONDS + 10, connect=10)  # seconds; by then the parent has ended this process
CHUNK = 1 << 20  # bytes of what is here already, read and hashed at once
CHUNKS = 256  # of these, after which it says that it is busy


class File(NamedTuple):
    """What the Hub announces of a file."""

    size: int
    kind: str  # "sha256", or "blob": SHA-1 as Git takes it
    digest: str


def main() -> None:
    """Serve the one model that is asked for."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(lines,), daemon=True).start()
    request = json.loads(lines.get())
    try:
        with translated(request["name"]):
            serve(request["repo"], request["name"], request["revision"], request["token"], lines)
    except errors.VisitorError as error:
        tell(error=type(error).__name__, facts=error.facts)
    os._exit(0)  # an ordinary end would wait for the thread that reads stdin


def listen(lines: queue.SimpleQueue[str]) -> None:
    """Hand on what the parent says, and end the process when there is no parent any more."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)


def tell(**event) -> None:
    """Send an event."""
    print(json.dumps(event), flush=True)


def serve(repo: str, name: str, revision: str, token: str | None, lines: queue.SimpleQueue[str]) -> None:
    """Say what there is, what would be fetched, and fetch it; go on to the next when told to."""
    info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=WAIT, token=token or False)
    files = announced(info.siblings or [])
    tell(event="found", revision=info.sha, names=[sibling.rfilename for sibling in info.siblings or []])

    folder, headers = Path(json.loads(lines.get())["folder"]), build_hf_headers(token=token or False)
    with FileLock(f"{folder}.lock", timeout=limits.FOLDER_SECONDS):  # another Glassbox on this computer may be at it

        def get(file: str) -> Path:
            address = hf_hub_url(repo, file, revision=info.sha)
            return fetch(address, headers, folder / file, files[file], name)

        config = read_json(get, files, "config.json", name)
        wanted = [file for file in files if any(fnmatchcase(file, pattern) for pattern in WANTED)]
        wanted += weights(get, files, name)
        tell(event="plan", files={file: files[file].size for file in wanted}, config=config)
        lines.get()
        for file in wanted:
            get(file)
            tell(event="file")
        tell(event="done")


def announced(siblings: list) -> dict[str, File]:
    """Return the files of the root by their names, with what their bytes can be verified by."""
    files = {}
    for sibling in siblings:
        if sibling.lfs is not None:
            files[sibling.rfilename] = File(sibling.lfs.size, "sha256", sibling.lfs.sha256)
        elif sibling.size is not None and sibling.blob_id:
            files[sibling.rfilename] = File(sibling.size, "blob", sibling.blob_id)
    return {name: file for name, file in files.items() if re.fullmatch(r"\w[\w.+-]*", name)}


def read_json(get, files: dict[str, File], file: str, name: str) -> dict:
    """Fetch and read a file of settings.

    Raises ModelUnusable where there is none, or none of a sensible size and kind.
    """
    if file in files and files[file].size <= limits.MODEL_CONFIG_BYTES:
        try:
            read = json.loads(get(file).read_bytes())
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict):
            return read
    raise errors.ModelUnusable(name=name, lacks="sensible configuration")


def weights(get, files: dict[str, File], name: str) -> list[str]:
    """Return the files that hold the weights: one, or those an index names, and that.

    Raises ModelUnusable where there are none, or not all of them.
    """
    if WEIGHTS in files:
        return [WEIGHTS]
    if INDEX in files:
        shards = read_json(get, files, INDEX, name).get("weight_map")
        shards = set(map(str, shards.values())) if isinstance(shards, dict) else set()
        if shards and all(shard in files and shard.endswith(".safetensors") for shard in shards):
            return [INDEX, *sorted(shards)]
    raise errors.ModelUnusable(name=name, lacks="safetensors weights")


def fetch(address: str, headers: dict[str, str], path: Path, file: File, name: str) -> Path:
    """Return the file, whole: what is here of it is kept, and the rest fetched.

    If it is not what was announced it is fetched once more. Raises ModelDamaged if it still is not.
    """
    for _ in range(2):
        if complete(address, headers, path, file):
            return path
        path.unlink()
    raise errors.ModelDamaged(name=name)


def complete(address: str, headers: dict[str, str], path: Path, file: File) -> bool:
    """Fetch what is missing of a file, and return whether its bytes are those announced. Never more of them are written.

    A connection that breaks is taken up again, limits.BREAKS times.
    """
    digest, done = reread(path, file)
    breaks = 0
    with path.open("ab") as to:
        while done < file.size:
            asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
            try:
                with get_session().stream("GET", address, headers=asked, timeout=WAIT) as response:
                    if response.status_code == 416:  # there is less than was announced
                        return False
                    hf_raise_for_status(response)
                    if done and response.status_code != 206:  # all of it comes again
                        to.truncate(0)
                        digest, done = hasher(file), 0
                    for chunk in response.iter_bytes():
                        done += len(chunk)
                        if done > file.size:
                            return False
                        digest.update(chunk)
                        to.write(chunk)
                        to.flush()  # what the parent counts, and what is left when this process is killed
                break
            except httpx2.TransportError:
                breaks += 1
                if breaks > limits.BREAKS:
                    raise
                time.sleep(limits.BREAK_SECONDS)
    return done == file.size and digest.hexdigest() == file.digest


def hasher(file: File):
    """Return the hash of nothing yet, of the kind by which that file is verified."""
    return hashlib.sha256() if file.kind == "sha256" else hashlib.sha1(b"blob %d\0" % file.size)


def reread(path: Path, file: File) -> tuple:
    """Return the hash and the number of those bytes of a file that are here; what is too long is thrown away."""
    digest, done = hasher(file), 0
    if path.exists() and path.stat().st_size > file.size:
        path.unlink()
    if path.exists():
        with path.open("rb") as kept:
            while chunk := kept.read(CHUNK):
                digest.update(chunk)
                done += len(chunk)
                if done % (CHUNK * CHUNKS) == 0:
                    tell(event="reading")
    return digest, done


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn whatever the network, the Hub or the disk does into an error with a sentence."""
    try:
        yield
    except HfHubHTTPError as error:
        raise refusal(name, error.response) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        raise errors.HubUnreachable() from error
    except HFValidationError as error:  # a name that no repository can have
        raise errors.ModelMissing(name=name) from error
    except json.JSONDecodeError as error:  # somebody else answers: the page where a hotel asks for the room number
        raise errors.HubUnreachable() from error
    except Timeout as error:
        raise errors.TooBusy(seconds=limits.FOLDER_SECONDS) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise errors.ModelTooLarge() from error  # the parent knows the sizes


def refusal(name: str, response: httpx2.Response) -> errors.VisitorError:
    """Return what it means that the Hub answers with that status.

    To a visitor who is not logged in, the Hub says 401 of a repository that is not there, too: such a one is missing.
    """
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    stale = "Invalid credentials" in response.headers.get("X-Error-Message", "")  # of a token that is no longer valid
    if status == 429:
        return errors.HubBusy(minutes=minutes(response.headers))
    if status == 403:
        return errors.ModelForbidden(name=name)
    if status == 401 and (code == "GatedRepo" or stale):
        return errors.ModelGated(name=name)
    if status in (401, 404, 410):
        return errors.ModelMissing(name=name)
    return errors.HubFailing(found=status)


def minutes(headers: httpx2.Headers) -> int:
    """Return for how long the Hub wants to be left alone, at least 1; it counts requests in windows of five."""
    told = re.search(r"^(\d{1,6})$", headers.get("Retry-After", "").strip()) or re.search(
        r"\bt=(\d{1,6})", headers.get("RateLimit", "")
    )
    return max(1, math.ceil(int(told[1]) / 60)) if told else 5


if __name__ == "__main__":
    main()
