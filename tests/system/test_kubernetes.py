"""The manifests for Kubernetes: what the API server and the operator of dask-kubernetes take, and what then runs.

The schemas come from two packages that are too large for the extra `test`; the tests that need them are skipped
without: ``pip install --no-deps dask-kubernetes`` and ``pip install kubernetes-validate``.
"""

import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import click
import dask
import pytest
import yaml
from dask.utils import parse_timedelta
from distributed.cli.dask_scheduler import main as dask_scheduler
from distributed.cli.dask_worker import main as dask_worker

from som_dask import errors
from som_dask.cli.commands import cli

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
JOBS = ["infer.yaml", "train-on-cluster.yaml"]
OPERATOR = {"DASK_SCHEDULER_ADDRESS": "tcp://som-train-scheduler:8786", "DASK_WORKER_NAME": "som-worker-1"}
VERSIONS = ["1.31", "1.37"]  # the first with the exit statuses of jobs as a stable feature, and the newest one known
FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the schemas have 9,000 lines
SECONDS = 60  # until a test gives up, on a machine however busy
needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh")


def load(file):
    return yaml.safe_load((FOLDER / file).read_text())


def cluster_of(manifest):
    spec = manifest["spec"]
    return spec["cluster"]["spec"] if manifest["kind"] == "DaskJob" else spec


def pods_of(manifest):
    """The pods' specifications, by what they are."""
    if manifest["kind"] == "Job":
        return {"run": manifest["spec"]["template"]["spec"]}
    cluster = cluster_of(manifest)
    pods = {name: cluster[name]["spec"] for name in ("scheduler", "worker")}
    return {"run": manifest["spec"]["job"]["spec"], **pods} if manifest["kind"] == "DaskJob" else pods


def containers(file):
    return [(name, container) for name, pod in pods_of(load(file)).items() for container in pod["containers"]]


def expand(words):
    """Put in what the operator tells the containers, as Kubernetes does; it leaves what it does not know."""
    return [re.sub(r"\$\((\w+)\)", lambda match: OPERATOR.get(match[1], match[0]), word) for word in words]


def parse(words):
    """The parameters of a command of som-dask, which is not run."""
    group = click.Context(cli)
    return cli.get_command(group, words[0]).make_context(words[0], words[1:], parent=group).params


def close(schema):
    """Refuse fields that a schema of the API server does not know: it would drop them without a word."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return closed


@functools.cache
def resource_schema(kind):
    """The schema of a resource of the operator, as its package ships it."""
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None:
        pytest.skip("dask-kubernetes is not installed")
    [path] = Path(found.origin).parent.glob(f"operator/**/crds/{kind.lower()}.yaml")
    [version] = yaml.load(path.read_text(), FAST_LOADER)["spec"]["versions"]
    schema = close(version["schema"]["openAPIV3Schema"])
    schema["properties"].update({name: {} for name in ("apiVersion", "kind", "metadata")})
    return schema


def faults_of(manifest):
    jsonschema = pytest.importorskip("jsonschema", reason="kubernetes-validate is not installed")
    validator = jsonschema.Draft202012Validator(resource_schema(manifest["kind"]))
    return [f"{'.'.join(map(str, fault.path))}: {fault.message[:200]}" for fault in validator.iter_errors(manifest)]


@pytest.mark.parametrize("file", ["cluster.yaml", "train.yaml"])
def test_the_operator_takes_each_field(file):
    manifest = load(file)
    assert manifest["apiVersion"] == "kubernetes.dask.org/v1"
    assert faults_of(manifest) == []


def test_the_operator_knows_no_retry():
    """Why the job of train.yaml runs its command again by itself."""
    manifest = load("train.yaml")
    manifest["spec"]["job"]["spec"]["podFailurePolicy"] = {"rules": []}
    manifest["spec"]["job"]["backoffLimit"] = 3
    manifest["spec"]["job"]["spec"]["containers"][0]["restartPolicyRules"] = []
    faults = faults_of(manifest)
    assert len(faults) == 3
    assert all("were unexpected" in fault or "was unexpected" in fault for fault in faults)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES)
def test_kubernetes_takes_each_field(file, version):
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    manifest = load(file)
    made = [{"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": pod} for pod in pods_of(manifest).values()]
    if manifest["kind"] == "Job":
        made.append(manifest)
    else:
        service = cluster_of(manifest)["scheduler"]["service"]
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": service})
    for resource in made:
        kubernetes.validate(resource, version, strict=True)


@pytest.mark.parametrize("file", FILES)
def test_each_command_can_be_given(file):
    for _, container in containers(file):
        command = expand(container.get("command", ["som-dask"]))
        if command[0] == "sh":  # which runs som-dask with its arguments
            command = ["som-dask"]
        words = [*command, *expand(container.get("args", []))]
        assert not any("$(" in word for word in words)
        if words[0] == "dask":
            main = {"scheduler": dask_scheduler, "worker": dask_worker}[words[1]]
            assert main.make_context(words[1], words[2:]).args == []
        else:
            assert words[0] == "som-dask"
            given = parse(words[1:])
            assert given["scheduler"].endswith("-scheduler:8786")
            assert given["output"].startswith("s3://")
            assert given.get("resume_or_start", True)


def test_a_wrong_command_can_not():
    with pytest.raises(click.UsageError, match="no-such-option"):
        parse(["train", "s3://my-bucket/cells.zarr", "--no-such-option"])


@pytest.mark.parametrize("file", FILES)
def test_the_image_is_the_one_that_is_built(file):
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["som-dask"]' in dockerfile  # a container without a command gives its arguments only
    assert re.search(r"^USER [1-9][0-9]*$", dockerfile, re.MULTILINE)  # a name could be root, for Kubernetes
    built = re.search(r"docker build .* -t (\S+)", dockerfile)[1]
    images = {container["image"] for _, container in containers(file)}
    assert images == {f"registry.example.com/{built}:1"}
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods_of(load(file)).values())


def test_the_image_reads_and_writes_s3():
    assert len(re.findall(r"\[[\w,]*\bs3\b[\w,]*\]", (ROOT / "deploy" / "Dockerfile").read_text())) == 2


@pytest.mark.parametrize("file", FILES)
def test_whoever_reads_data_has_the_keys_and_a_limit(file):
    for name, container in containers(file):
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        if name != "scheduler":
            assert container["envFrom"] == [{"secretRef": {"name": "som-s3"}}]


@pytest.mark.parametrize("file", ["cluster.yaml", "train.yaml"])
def test_the_service_finds_the_scheduler(file):
    """The operator calls a cluster as its job, and labels the scheduler's pod with that."""
    manifest = load(file)
    cluster = cluster_of(manifest)
    name = manifest["metadata"]["name"]
    selector = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    assert cluster["scheduler"]["service"]["selector"] == selector
    [scheduler] = cluster["scheduler"]["spec"]["containers"]
    targets = {port["targetPort"] for port in cluster["scheduler"]["service"]["ports"]}
    assert targets == {port["name"] for port in scheduler["ports"]}


@pytest.mark.parametrize("file", JOBS)
def test_jobs_go_to_the_cluster(file):
    [(_, container)] = containers(file)
    assert f"--scheduler=tcp://{load('cluster.yaml')['metadata']['name']}-scheduler:8786" in container["args"]


@pytest.mark.parametrize("file", [*JOBS, "train.yaml"])
def test_a_job_waits_for_its_cluster_and_may_save_its_state(file):
    pod = pods_of(load(file))["run"]
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    # The image keeps the package's settings as those of the machine.
    config = dask.config.collect(paths=[ROOT / "som_dask"], env=environment)
    for name in ("distributed.comm.timeouts.connect", "som-dask.workers-timeout"):
        assert parse_timedelta(dask.config.get(name, config=config)) == 600
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60


def statuses():
    """All exit statuses that the command line gives on purpose."""
    classes = [getattr(errors, name) for name in errors.__all__]
    return {one.exit_status for one in classes if isinstance(one, type)}


def decide(policy, status):
    """What a Job does after an exit status without a disruption of the pod, by its first rule that fits."""
    for rule in policy["rules"]:
        codes = rule.get("onExitCodes", {"values": []})
        assert codes.get("operator", "In") == "In"
        if status in codes["values"]:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("file", JOBS)
def test_a_job_is_run_again_where_that_helps(file):
    spec = load(file)["spec"]
    decided = {status: decide(spec["podFailurePolicy"], status) for status in statuses()}
    final = dict.fromkeys((2, 3, 4, 7), "FailJob")
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    assert decided == {1: "Count", **final, 5: "Count", 6: "Count", 75: "Ignore"}
    assert {"action": "Ignore", "onPodConditions": [disrupted]} in spec["podFailurePolicy"]["rules"]
    assert spec["podReplacementPolicy"] == "Failed"  # no two pods at a time
    # The pauses double from 10 s up to 6 minutes; a run that was killed holds the output for three.
    assert sum(min(10 * 2**number, 360) for number in range(spec["backoffLimit"])) > 2 * 180


@pytest.fixture
def start(tmp_path):
    """Start what the pod of train.yaml runs, with another som-dask that ends with these statuses in turn."""

    def started(*ends):
        program = tmp_path / "som-dask"
        program.write_text(
            "#!/bin/sh\n"
            "trap 'echo asked >> said; kill $!; exit 75' TERM\n"
            'echo "$@" >> said\n'
            "end=$(head -n 1 ends); tail -n +2 ends > rest; mv rest ends\n"
            '[ "$end" != wait ] || { sleep 60 & wait; }\n'
            'exit "$end"\n'
        )
        program.chmod(0o755)
        (tmp_path / "ends").write_text("".join(f"{end}\n" for end in ends))
        (tmp_path / "said").touch()
        [(_, container), *_] = containers("train.yaml")
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        words = [*container["command"], "train", "a b"]
        return subprocess.Popen(words, cwd=tmp_path, env={**os.environ, "PATH": path, "PAUSE": "0"}, text=True)

    return started


@needs_sh
@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([0], 0),
        ([75, 6, 0], 0),
        *(([75, final], final) for final in (1, 2, 3, 4, 5, 7)),
        ([75] * 20, 75),
        ([6] * 20, 6),
    ],
)
def test_the_pod_of_a_dask_job_runs_the_command_again(ends, status, start, tmp_path):
    assert start(*ends, 9).wait(SECONDS) == status
    assert (tmp_path / "said").read_text() == "train a b\n" * len(ends)


@needs_sh
def test_the_pod_of_a_dask_job_hands_on_a_request_to_stop(start, tmp_path):
    running = start("wait", 9)
    give_up = time.monotonic() + SECONDS
    while not (tmp_path / "said").read_text():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    assert running.wait(SECONDS) == 75
    assert (tmp_path / "said").read_text() == "train a b\nasked\n"
