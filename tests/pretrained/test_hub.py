"""Weights from and to a Hub: the real huggingface_hub client with a real server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.elsewhere import Elsewhere, run
from support.hub_server import Hub, Repository, running_hub
from support.nets import scrambled
from support.reliability import fault

import sparsenet_models
from sparsenet_models import PretrainedCfg, create_model, is_model, register_model, save_pretrained
from sparsenet_models.common.addresses import SITE, weight_page

NAME = "sparsenet_bc_40_k12"
REPOSITORY = "lab/small"
WEIGHTS = "model.safetensors"

LOAD = """
import hashlib
from sparsenet_models import create_model
model = create_model({name!r}, pretrained=True, **{options!r})
digest = hashlib.sha256()
for tensor in model.state_dict().values():
    digest.update(tensor.numpy().tobytes())
result = digest.hexdigest()
"""

REGISTERED = """
from sparsenet_models import PretrainedCfg, SparseNet, register_model
def hosted_net(**kwargs):
    return SparseNet(**{{"depth": 40, "growth_rate": 12, "bottleneck": True, **kwargs}})
cfg = PretrainedCfg(hf_hub_id={repository!r}, revision={revision!r}, sha256={sha256!r}, num_classes=10)
register_model(pretrained_cfgs={{"lab": cfg}})(hosted_net)
"""


def digest_of(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def load(name: str = f"hf-hub:{REPOSITORY}", **options: object) -> str:
    return LOAD.format(name=name, options=options)


def saved(folder: Path, seed: int = 0) -> dict[str, bytes]:
    torch.manual_seed(seed)
    save_pretrained(scrambled(create_model(NAME)), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return saved(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory, model_files: dict[str, bytes]) -> str:
    folder = tmp_path_factory.mktemp("expected")
    for name, content in model_files.items():
        (folder / name).write_bytes(content)
    return digest_of(create_model(f"local-dir:{folder}", pretrained=True))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture
def published(hub: Hub, model_files: dict[str, bytes]) -> Repository:
    repository = hub.repository(REPOSITORY)
    repository.commit(model_files)
    return repository


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "no_proxy": "127.0.0.1",
    }


def kept(tmp_path: Path) -> list[str]:
    """Return the files of the cache that hold bytes of somebody's: no locks, no references."""
    return sorted(
        path.parent.name + "/" + path.name
        for path in (tmp_path / "cache").rglob("*")
        if path.parent.name == "blobs"
    )


def weights_kept(tmp_path: Path, files: dict[str, bytes]) -> bool:
    return f"blobs/{hashlib.sha256(files[WEIGHTS]).hexdigest()}" in kept(tmp_path)


# What works


def test_the_first_call_fetches_and_the_second_reads_the_cache(hub, published, environment, digest):
    assert run(load(), environment).value() == digest
    assert hub.asked("GET", "/storage/.*model.safetensors$") == 1
    assert run(load(), environment).value() == digest
    assert hub.asked("GET", "/storage/.*model.safetensors$") == 1
    assert any("sparsenet_models" in agent for agent in hub.agents)


def test_what_is_cached_loads_offline(hub, published, environment, digest):
    assert run(load(), environment).value() == digest
    before = len(hub.requests)
    assert run(load(), {**environment, "HF_HUB_OFFLINE": "1"}).value() == digest
    assert len(hub.requests) == before


def test_what_is_cached_loads_while_the_hub_is_down(hub, published, environment, digest):
    assert run(load(), environment).value() == digest
    hub.fails("500", method="HEAD")
    assert run(load(), environment).value() == digest


def test_a_revision_is_pinned_by_branch_and_by_commit(hub, published, environment, digest, tmp_path):
    first = published.branches["main"]
    other = published.commit(saved(tmp_path / "other", seed=1))
    newest = run(load(), environment).value()
    assert newest != digest
    assert run(load(f"hf-hub:{REPOSITORY}@{first}"), environment).value() == digest
    assert run(load(f"hf_hub:{REPOSITORY}@main"), environment).value() == newest
    assert run(load(f"hf-hub:{REPOSITORY}@{other}"), environment).value() == newest


def test_cache_dir_is_where_files_go(hub, published, environment, digest, tmp_path):
    assert run(load(cache_dir=str(tmp_path / "mine")), environment).value() == digest
    assert list((tmp_path / "mine").rglob(WEIGHTS))
    assert not (tmp_path / "cache").exists()


def test_arguments_beat_those_of_the_configuration(hub, published, environment):
    code = load(num_classes=3, in_chans=1, drop_rate=0.5)
    answer = run(code + "result = model.num_classes, model.in_chans, model.head.drop.p", environment)
    assert answer.value() == (3, 1, 0.5)


def test_without_pretrained_only_the_configuration_is_fetched(hub, published, environment):
    code = f"from sparsenet_models import create_model\ncreate_model('hf-hub:{REPOSITORY}')"
    run(code, environment).value()
    assert hub.asked("GET", "config.json$") == 1
    assert hub.asked("HEAD", WEIGHTS) == hub.asked("GET", WEIGHTS) == 0


def test_a_registered_tag_is_fetched_from_its_pinned_commit(hub, published, environment, model_files, digest):
    place = dict(repository=REPOSITORY, revision=published.branches["main"])
    sha256 = hashlib.sha256(model_files[WEIGHTS]).hexdigest()
    code = REGISTERED.format(**place, sha256=sha256)
    listed = "from sparsenet_models import list_pretrained; names = list_pretrained('hosted*')\n"
    answer = run(listed + code + listed + load("hosted_net.lab") + "result = result, names", environment)
    assert answer.value() == (digest, ["hosted_net.lab"])
    assert hub.asked("GET", "config.json") == 0


def test_a_private_repository_opens_with_a_token_alone(hub, environment, model_files, digest, tmp_path):
    hub.repository(REPOSITORY, private=True).commit(model_files)
    message = run(load(), environment).error("RepositoryNotFoundError")
    assert "HF_TOKEN" in message
    fault("a private repository, no token (401)", message, "nothing", tmp_path)
    assert kept(tmp_path) == []
    assert run(load(), {**environment, "HF_TOKEN": hub.token}).value() == digest


def test_a_progress_bar_is_shown_unless_it_is_switched_off(hub, published, environment, tmp_path):
    for switch, shown in (("0", True), ("1", False)):
        written = tmp_path / f"stderr{switch}"
        code = f"import os; os.dup2(os.open({str(written)!r}, os.O_CREAT | os.O_WRONLY), 2)\n"
        # tqdm draws no bar into a file by default.
        switches = {"HF_HUB_DISABLE_PROGRESS_BARS": switch, "TQDM_POSITION": "-1"}
        run(code + load(cache_dir=str(tmp_path / switch)), {**environment, **switches}).value()
        assert (WEIGHTS in written.read_text(encoding="utf-8")) is shown


@pytest.mark.parametrize("wrong", [dict(revision="main"), dict(sha256=None), dict(revision="0" * 39)])
def test_a_tag_on_the_hub_must_be_pinned_by_commit_and_sha256(wrong):
    place = dict(hf_hub_id=REPOSITORY, revision="0" * 40, sha256="0" * 64)
    cfg = PretrainedCfg(**{**place, **wrong})
    with pytest.raises(ValueError, match=rf"its {next(iter(wrong))} must be given in full") as caught:

        @register_model(pretrained_cfgs={"loose": cfg})
        def loosely_pinned(**kwargs):
            raise NotImplementedError

    assert REPOSITORY in str(caught.value)
    assert not is_model("loosely_pinned")


@pytest.mark.slow
def test_a_weight_of_the_library_that_is_not_bundled_is_fetched_and_verified(hub, environment, tmp_path):
    """In a copy of the package where the JSON of a weight names a repository in the place of its file."""
    package = tmp_path / "site" / "sparsenet_models"
    shutil.copytree(Path(sparsenet_models.__file__).parent, package)
    name = "sparsenet_bc_40_k12.cifar10"
    weights, card = (package / "weights" / f"{name}.{suffix}" for suffix in ("safetensors", "json"))
    repository = hub.repository("lab/released")
    commit = repository.commit({WEIGHTS: weights.read_bytes()})
    weights.unlink()
    fields = json.loads(card.read_text(encoding="utf-8"))
    del fields["file"]
    card.write_text(json.dumps({**fields, "hf_hub_id": "lab/released", "revision": commit}), encoding="utf-8")

    def sparsenet(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "sparsenet_models", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment, "PYTHONPATH": str(package.parent)},
            capture_output=True,
            text=True,
        )

    assert name in sparsenet("list", "--pretrained").stdout
    verified = sparsenet("verify", name)
    assert verified.returncode == 0, verified.stderr
    assert fields["sha256"] in verified.stdout
    assert str(tmp_path / "cache") in verified.stdout
    hub.repository("lab/released").commits[commit][WEIGHTS] = b"other bytes"
    shutil.rmtree(tmp_path / "cache")
    refused = sparsenet("verify", name)
    assert refused.returncode == 1
    assert fields["sha256"] in refused.stderr


# Faults


def test_offline_without_a_copy_says_what_is_missing_and_three_ways_out(published, environment, tmp_path):
    message = run(load(), {**environment, "HF_HUB_OFFLINE": "1"}).error("LocalEntryNotFoundError")
    for part in (
        "HF_HUB_OFFLINE",
        REPOSITORY,
        "config.json",
        str(tmp_path / "cache"),
        "cache_dir=",
        "local-dir:",
    ):
        assert part in message
    fault("HF_HUB_OFFLINE=1 and not in the cache", message, "nothing", tmp_path)
    pinned = run(load(f"hf-hub:{REPOSITORY}@v1"), {**environment, "HF_HUB_OFFLINE": "1"})
    assert "at v1" in pinned.error("FileNotFoundError")
    assert "--revision v1" in pinned.message


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_reported_like_offline(published, environment, tmp_path):
    unreachable = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}
    message = run(load(), unreachable, timeout=120).error("LocalEntryNotFoundError")
    assert "http://127.0.0.1:9 does not answer" in message
    fault("no network", message, "nothing", tmp_path)


def test_an_unknown_repository_is_named(hub, environment, tmp_path):
    message = run(load("hf-hub:lab/nowhere"), environment).error("RepositoryNotFoundError")
    assert "no repository lab/nowhere" in message
    fault("no such repository (401 or 404)", message, "nothing", tmp_path)
    assert kept(tmp_path) == []


def test_an_unknown_revision_is_named(published, environment, tmp_path):
    message = run(load(f"hf-hub:{REPOSITORY}@v9"), environment).error("RevisionNotFoundError")
    assert message.startswith(f"{REPOSITORY} has no revision 'v9' (404)")
    fault("no such revision (404)", message, "nothing", tmp_path)


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS])
def test_a_repository_without_a_file_is_reported_with_it(hub, environment, model_files, tmp_path, missing):
    files = {name: content for name, content in model_files.items() if name != missing}
    hub.repository(REPOSITORY).commit(files)
    message = run(load(), environment).error("EntryNotFoundError")
    assert message.startswith(f"{REPOSITORY} has no {missing}")
    fault(f"the repository has no {missing} (404)", message, "the files that it has", tmp_path)


def test_a_gated_repository_says_where_to_accept_its_terms(hub, environment, model_files, tmp_path):
    hub.repository(REPOSITORY, gated=True).commit(model_files)
    message = run(load(), environment).error("GatedRepoError")
    assert f"accept its terms at {hub.endpoint}/{REPOSITORY}" in message
    fault("a gated repository", message, "nothing", tmp_path)


def test_one_server_error_is_tried_again(hub, published, environment, digest):
    hub.fails("500", method="HEAD", path="config.json", times=1)
    hub.fails("503", method="HEAD", path=WEIGHTS, times=2)
    assert run(load(), environment).value() == digest


def test_a_storage_that_fails_is_reported_and_the_next_call_succeeds(
    hub, published, environment, digest, model_files, tmp_path
):
    hub.fails("500", path=WEIGHTS, times=1)
    message = run(load(), environment).error("HfHubHTTPError")
    assert "answered 500" in message
    assert not weights_kept(tmp_path, model_files)
    fault("the storage answers 500", message, "config.json, nothing of the weights", tmp_path)
    assert run(load(), environment).value() == digest


@pytest.mark.slow
def test_a_hub_that_is_down_for_good_is_reported(hub, published, environment, tmp_path):
    hub.fails("503", method="HEAD")
    message = run(load(), environment, timeout=180).error("LocalEntryNotFoundError")
    assert f"{hub.endpoint} answers 503" in message
    fault("the Hub answers 503, again and again", message, "nothing", tmp_path)


def test_a_slow_transfer_arrives(hub, published, environment, digest):
    hub.fails("slow", path=WEIGHTS)
    start = time.monotonic()
    assert run(load(), environment).value() == digest
    assert time.monotonic() - start > 0.9


def test_a_transfer_cut_in_the_middle_is_asked_for_again_and_arrives_whole(
    hub, published, environment, digest
):
    hub.fails("cut", path=WEIGHTS, times=1)
    assert run(load(), environment).value() == digest
    assert hub.asked("GET", f"{WEIGHTS}$") == 2


@pytest.mark.slow
def test_a_transfer_cut_again_and_again_leaves_nothing(
    hub, published, environment, digest, model_files, tmp_path
):
    hub.fails("cut", path=WEIGHTS, times=40)
    answer = run(load(), environment, timeout=180)
    message = answer.error("OSError")
    assert f"{WEIGHTS} of {REPOSITORY} at " in message
    assert len(kept(tmp_path)) == 1  # config.json
    fault("the transfer is cut, again and again", message, "config.json, nothing of the weights", tmp_path)
    hub.faults.clear()
    assert run(load(), environment).value() == digest


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
def test_wrong_bytes_are_refused_and_removed(
    hub, published, environment, digest, model_files, tmp_path, file
):
    hub.fails("wrong bytes", path=file, times=1)
    message = run(load(), environment).error("ValueError")
    assert f"{file} of {REPOSITORY} is refused: its hash is " in message
    assert not weights_kept(tmp_path, model_files)
    fault(
        f"other bytes of the same length arrive for {file}", message, "the damaged file is removed", tmp_path
    )
    assert run(load(), environment).value() == digest


def test_a_file_other_than_the_one_a_tag_names_is_refused_and_what_the_hub_has_stays_cached(
    hub, published, environment, model_files, tmp_path
):
    wrong = "0" * 64
    code = REGISTERED.format(repository=REPOSITORY, revision=published.branches["main"], sha256=wrong) + load(
        "hosted_net.lab"
    )
    message = run(code, environment).error("ValueError")
    assert f"its sha256 is not the one that the configuration names ({wrong})" in message
    assert weights_kept(tmp_path, model_files)
    fault("a registered tag's file has another sha256", message, "the Hub's file, in its cache", tmp_path)


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
def test_a_page_in_place_of_a_file_is_refused(
    hub, published, environment, digest, model_files, tmp_path, file
):
    hub.fails("page", path=file, times=1)
    message = run(load(), environment).error("OSError")
    assert f"{file} of {REPOSITORY}" in message
    assert "Consistency check failed" in message
    assert not weights_kept(tmp_path, model_files)
    fault(f"an HTML page arrives for {file}", message, "nothing of that file", tmp_path)
    assert run(load(), environment).value() == digest


def test_a_login_page_in_place_of_the_hub_is_reported(hub, published, environment, tmp_path):
    for method in ("HEAD", "GET"):
        hub.fails("page", method=method)
    message = run(load(), environment).error("LocalEntryNotFoundError")
    assert "is not the Hub's (a proxy's or a login page?)" in message
    fault("a network's login page answers for the Hub", message, "nothing", tmp_path)
    assert kept(tmp_path) == []


def test_a_cached_file_that_was_changed_is_refused_removed_and_fetched_again(
    hub, published, environment, digest, tmp_path
):
    run(load(), environment).value()
    (link,) = (tmp_path / "cache").rglob(WEIGHTS)
    content = link.read_bytes()
    link.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    message = run(load(), offline).error("ValueError")
    fault("a file in the cache was changed", message, "the changed file is removed", tmp_path)
    assert run(load(), environment).value() == digest


def share_content(cache: Path) -> Path:
    """Put the weights where huggingface_hub keeps files of its Xet storage; return their place.

    There the blob of a repository is a link too, to a file that is named by a hash of Xet.
    """
    (link,) = cache.rglob(WEIGHTS)
    blob, content = link.resolve(), cache / "blobs" / "ab" / ("ab" * 32)
    content.parent.mkdir(parents=True)
    blob.rename(content)
    blob.symlink_to(Path("../../blobs/ab") / content.name)
    return content


def test_content_that_repositories_share_loads_and_is_verified(hub, published, environment, digest, tmp_path):
    run(load(), environment).value()
    content = share_content(tmp_path / "cache")
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert run(load(), offline).value() == digest
    (snapshot,) = (tmp_path / "cache").glob("models--*/snapshots/*")
    assert run(load(f"local-dir:{snapshot}"), offline).value() == digest
    whole = content.read_bytes()
    content.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "it was removed from the cache: try again" in run(load(), offline).error("ValueError")
    assert not content.exists()
    assert run(load(), environment).value() == digest


@pytest.mark.parametrize("through_the_blob", [False, True])
def test_a_cached_link_out_of_the_cache_is_refused_and_what_it_leads_to_stays(
    hub, published, environment, tmp_path, through_the_blob
):
    run(load(), environment).value()
    (link,) = (tmp_path / "cache").rglob(WEIGHTS)
    thesis = tmp_path / "thesis"
    thesis.write_text("years of work")
    place = link.resolve() if through_the_blob else link
    place.unlink()
    place.symlink_to(thesis)
    message = run(load(), {**environment, "HF_HUB_OFFLINE": "1"}).error("ValueError")
    assert message.endswith(f"is refused: it is a link to {thesis}, outside of the cache")
    assert thesis.read_text() == "years of work"


def test_a_damaged_file_of_a_cache_without_links_is_removed_and_fetched_again(
    hub, published, environment, model_files, digest, tmp_path
):
    sha256 = hashlib.sha256(model_files[WEIGHTS]).hexdigest()
    names = dict(repository=REPOSITORY, revision=published.branches["main"], sha256=sha256)
    code = REGISTERED.format(**names) + load("hosted_net.lab")
    assert run(code, environment).value() == digest
    (link,) = (tmp_path / "cache").rglob(WEIGHTS)
    content = link.read_bytes()
    link.unlink()
    link.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "it was removed from the cache: try again" in run(code, environment).error("ValueError")
    assert run(code, environment).value() == digest


def test_eight_processes_at_once_fetch_once(hub, published, environment, digest):
    hub.fails("slow", path=WEIGHTS)
    processes = [Elsewhere(load(), environment) for _ in range(8)]
    assert [process.answer(120).value() for process in processes] == [digest] * 8
    assert hub.asked("GET", f"/storage/.*{WEIGHTS}$") == 1


def test_a_process_killed_in_mid_transfer_leaves_nothing_that_the_next_one_would_load(
    hub, published, environment, digest, model_files, tmp_path
):
    hub.fails("slow", path=WEIGHTS, times=1)
    killed = Elsewhere(load(), environment)
    deadline = time.monotonic() + 30
    while not hub.asked("GET", f"/storage/.*{WEIGHTS}$"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)  # the server takes a second to send it all
    killed.process.kill()
    killed.process.join()
    assert not weights_kept(tmp_path, model_files)
    left = list((tmp_path / "cache").rglob("*.incomplete"))
    assert len(left) == 1
    fault(
        "kill -9 in mid-transfer",
        "(the process is gone)",
        "a part file of another name, never read",
        tmp_path,
    )
    assert run(load(), environment).value() == digest
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert run(load(), offline).value() == digest


MOUNTED = """
import ctypes, os
NEW_NAMESPACE, NEW_USER, READ_ONLY = 0x20000, 0x10000000, 1
libc = ctypes.CDLL(None, use_errno=True)
folder = os.fsencode({folder!r})
if libc.unshare(NEW_NAMESPACE | (NEW_USER if os.geteuid() else 0)) != 0:
    raise SystemExit("no namespaces here")
libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None)  # private, with all below
if libc.mount(b"tmpfs", folder, b"tmpfs", {flags}, {options!r}) != 0:
    raise SystemExit("no mounts here")
"""


def run_mounted(folder: Path, flags: str, options: bytes, environment: dict[str, str]):
    """Load with a small file system of its own kind where the cache is."""
    folder.mkdir()
    code = MOUNTED.format(folder=str(folder), flags=flags, options=options)
    answer = run(code + load(), environment)
    if answer.kinds[:1] == ("SystemExit",):
        pytest.skip(answer.message)
    return answer


def test_a_read_only_cache_is_reported(hub, published, environment, tmp_path):
    answer = run_mounted(tmp_path / "cache", "READ_ONLY", b"size=8m", environment)
    message = answer.error("OSError")
    assert "Read-only file system" in message
    assert str(tmp_path / "cache") in message
    fault("the cache folder is read-only", message, "nothing", tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_full_disk_is_reported_and_nothing_half_written_stays(hub, published, environment, tmp_path):
    """Only that process sees its file system, so it reports what is left there."""
    folder = tmp_path / "cache"
    folder.mkdir()
    code = MOUNTED.format(folder=str(folder), flags="0", options=b"size=128k")
    code += "import warnings; warnings.simplefilter('ignore')\ntry:\n"
    code += "".join(f"    {line}\n" for line in load().strip().splitlines())
    code += "except OSError as error:\n    import pathlib\n"
    code += f"    blobs = [p for p in pathlib.Path({str(folder)!r}).rglob('blobs/*')]\n"
    code += "    result = str(error), len(blobs)\n"
    answer = run(code, environment)
    if answer.kinds[:1] == ("SystemExit",):
        pytest.skip(answer.message)
    message, blobs = answer.value()
    assert "No space left on device" in message
    assert "cache_dir=" in message
    assert f"{WEIGHTS} of {REPOSITORY}" in message
    assert blobs == 1  # config.json
    fault("the disk is full", message, "config.json, nothing of the weights", tmp_path)


def test_a_name_that_cannot_be_a_repositorys_is_refused(hub, environment, tmp_path):
    for name in ("a/b/c", "../x", "lab/sm all", "lab/..", "-/-"):
        message = run(load(f"hf-hub:{name}"), environment).error("ValueError")
        assert message.startswith(f"{name!r} cannot be the name of a Hub repository: ")
    fault("a name that no repository can have", message, "nothing", tmp_path)
    assert hub.requests == []


def test_a_token_that_no_header_can_have_is_no_wrong_name(hub, environment):
    message = run(load(f"hf-hub:{REPOSITORY}"), environment | {"HF_TOKEN": "hf_…"}).error("OSError")
    assert "could not be fetched" in message
    assert "cannot be the name" not in message


# Pushing

PUSH = """
import torch
from sparsenet_models import create_model, push_to_hub
torch.manual_seed({seed})
model = create_model({name!r}, **{options!r})
result = push_to_hub(model, {repository!r}, **{push!r})
"""


def push(seed: int = 0, name: str = NAME, options: dict | None = None, **push: object) -> str:
    return PUSH.format(seed=seed, name=name, options=options or {}, repository="me/mine", push=push)


@pytest.fixture
def writing(hub: Hub, environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "HF_TOKEN": hub.token}


def test_what_is_pushed_loads_in_another_process(hub, writing):
    answer = run(push(options={"num_classes": 4, "stem_channels": 20}) + LOAD_DIGEST, writing).value()
    commit, digest = answer
    assert hub.repositories["me/mine"].branches["main"] == commit
    assert set(hub.repositories["me/mine"].commits[commit]) == {"config.json", WEIGHTS, "README.md"}
    assert run(load(f"hf-hub:me/mine@{commit}"), writing).value() == digest
    assert run(load("hf-hub:me/mine"), writing).value() == digest


LOAD_DIGEST = """
import hashlib
digest = hashlib.sha256()
for tensor in model.state_dict().values():
    digest.update(tensor.numpy().tobytes())
result = result, digest.hexdigest()
"""


def test_the_card_of_published_weights_has_the_hubs_metadata_and_the_evidence(hub, writing):
    run(push(name=f"{NAME}.cifar10", options={"pretrained": True}), writing).value()
    (files,) = hub.repositories["me/mine"].commits.values()
    card = files["README.md"].decode()
    from huggingface_hub import ModelCard

    data = ModelCard(card).data
    assert (data.library_name, data.license, data.pipeline_tag) == (
        "sparsenet_models",
        "apache-2.0",
        "image-classification",
    )
    assert data.datasets == ["uoft-cs/cifar10"]
    (result,) = data.eval_results
    cfg = create_model(f"{NAME}.cifar10", device="meta").pretrained_cfg
    assert (result.metric_type, result.metric_value) == ("accuracy", cfg["top1"])
    assert f"{cfg['top1']:.2f}%" in card
    assert f"sha256 `{hashlib.sha256(files[WEIGHTS]).hexdigest()}`" in card
    assert cfg["git_commit"] in card
    assert "hf-hub:me/mine" in card
    assert f"({weight_page(f'{NAME}.cifar10')})" in card
    assert json.loads(files["config.json"])["evidence"]["top1"] == cfg["top1"]


def test_the_card_of_other_weights_claims_no_figure(hub, writing):
    run(push(name=f"{NAME}.cifar10"), writing).value()
    (files,) = hub.repositories["me/mine"].commits.values()
    card = files["README.md"].decode()
    assert "No figures are given" in card
    assert SITE not in card
    assert "%" not in card
    assert "model-index" not in card
    assert "evidence" not in json.loads(files["config.json"])


def test_a_readme_that_is_there_is_never_overwritten(hub, writing):
    hub.repository("me/mine").commit({"README.md": b"my own words"})
    run(push(), writing).value()
    repository = hub.repositories["me/mine"]
    files = repository.commits[repository.branches["main"]]
    assert files["README.md"] == b"my own words"
    assert WEIGHTS in files


def test_weights_that_are_there_are_never_replaced_by_others(hub, writing, tmp_path):
    first = run(push(), writing).value()
    message = run(push(seed=1), writing).error("ValueError")
    assert "me/mine has other weights already" in message
    fault("a push over other weights", message, "the repository as it was", tmp_path)
    repository = hub.repositories["me/mine"]
    assert repository.branches == {"main": first}
    assert run(push(), writing).value() == first  # the same bytes: nothing to do
    repository.commit({}, "v2")
    second = run(push(seed=1, revision="v2"), writing)
    assert "has other weights" not in second.message
    assert repository.branches["main"] == first
    assert repository.branches["v2"] == second.value()


def test_a_pull_request_leaves_the_branch_alone(hub, writing):
    first = run(push(), writing).value()
    proposed = run(push(seed=1, create_pr=True), writing).value()
    repository = hub.repositories["me/mine"]
    assert repository.branches["main"] == first
    assert proposed in repository.branches.values()


def test_a_push_during_a_push_is_refused(hub, writing):
    """Another's commit between the look at the repository and ours is no reason to replace it."""
    hub.repository("me/mine").commit({"README.md": b"mine"})
    hub.overtaken = {WEIGHTS: b"another's"}
    message = run(push(), writing).error("OSError")
    assert "somebody else pushed at the same time" in message
    repository = hub.repositories["me/mine"]
    assert repository.commits[repository.branches["main"]][WEIGHTS] == b"another's"


def test_a_branch_of_a_repository_that_is_not_there_makes_none(hub, writing):
    run(push(revision="v2"), writing).error("RepositoryNotFoundError")
    assert hub.repositories == {}


def test_a_name_that_no_repository_can_have_is_not_pushed_to(hub, writing):
    code = push().replace("me/mine", "a/b/c")
    assert "'a/b/c' cannot be the name of a Hub repository" in run(code, writing).error("ValueError")


def test_private_makes_a_private_repository(hub, writing):
    run(push(private=True), writing).value()
    assert hub.repositories["me/mine"].private


def test_a_push_without_a_token_is_reported(hub, environment, tmp_path):
    message = run(push(), environment).error("OSError")
    assert message.startswith("the model could not be pushed to me/mine on ")
    assert hub.repositories == {}
    assert "HF_TOKEN" in message
    fault("a push without a token (401)", message, "no repository is made", tmp_path)


def test_a_push_to_a_branch_that_is_not_there_is_reported(hub, writing, tmp_path):
    hub.repository("me/mine").commit({"README.md": b"mine"})
    message = run(push(revision="v2"), writing).error("RevisionNotFoundError")
    assert "me/mine" in message
    fault("a push to a branch that is not there (404)", message, "the repository as it was", tmp_path)
