"""Jobs of a queue: what the configuration may say, what stands in the job script, and a study through such jobs."""

import os
import stat
import sys
from pathlib import Path

import pytest
from cohort_study import quick_words, tables
from test_dask import PRELOAD

from dlqsm.cli import main
from dlqsm.cohort.dask_clusters import queue_cluster
from dlqsm.config import ClusterConfig, read_cluster_config, read_qsm_config
from dlqsm.core.checks import InputError

TABLE = """
[inversion]
method = "tkd"
[background]
method = "vsharp"
[cluster]
queue = "long"
account = "brain"
cores = 8
memory = "32 GB"
walltime = "08:00:00"
n_jobs = 4
extra_directives = ["--exclusive"]
prologue = ["module load python"]
"""

QUEUED = {
    "slurm": ("#SBATCH -p long", "#SBATCH -A brain", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=30G"),
    "pbs": ("#PBS -q long", "#PBS -A brain", "#PBS -l select=1:ncpus=8:mem=30GB", "#PBS -l walltime=08:00:00"),
    "sge": ("#$ -q long", "#$ -P brain", "#$ -l h_rt=08:00:00", "#$ --exclusive"),
    "lsf": ("#BSUB -q long", '#BSUB -P "brain"', "#BSUB -n 8", "#BSUB -W 08:00:00"),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(TABLE)
    return path


def test_the_table_stands_beside_those_of_the_steps(config: Path) -> None:
    cluster = read_cluster_config(config)
    assert (cluster.cores, cluster.memory, cluster.n_jobs, cluster.queue) == (8, "32 GB", 4, "long")
    assert cluster.extra_directives == ("--exclusive",)
    assert read_qsm_config(config).inversion.method == "tkd"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("queue =", "partition =", "unknown entry 'partition'; expected cores, memory, walltime, n_jobs, processes"),
        ('memory = "32 GB"', "memory = 32", 'memory must be text in quotes, such as memory = "32 GB"; got 32'),
        ("cores = 8", "cores = 0", "cores must be a whole number above zero; got 0"),
        ("cores = 8", "cores = true", "cores must be a whole number above zero; got True"),
        ("cores = 8", "", "lacks cores"),
        ("cores = 8", "cores = 8\nprocesses = 9", "processes = 9 is more than cores = 8"),
        ('["--exclusive"]', '"--exclusive"', "extra_directives must be a list of texts"),
        ("[cluster]", "[clusters]", "has no table [cluster]; expected one with cores, memory, walltime, n_jobs"),
    ],
)
def test_bad_tables(config: Path, old: str, new: str, said: str) -> None:
    config.write_text(TABLE.replace(old, new))
    with pytest.raises(InputError) as error:
        read_cluster_config(config)
    assert said in str(error.value)
    assert str(error.value).startswith(str(config))


@pytest.mark.parametrize("queue", QUEUED)
def test_the_job_script_asks_for_what_the_table_says(queue: str, config: Path, tmp_path: Path) -> None:
    with queue_cluster(queue, read_cluster_config(config), processes=2, out=tmp_path) as cluster:
        lines = cluster.job_script().splitlines()
    script = "\n".join(lines)
    for directive in QUEUED[queue]:
        assert directive in script
    assert "--exclusive" in script
    assert lines.index("module load python") < lines.index("export OMP_NUM_THREADS=4")  # 8 cores for two stages
    command = lines[-1]
    assert sys.executable in command
    assert command.split("--nworkers ")[1].split()[0] == "2"
    assert command.split("--nthreads ")[-1].split()[0] == "1"  # one stage a process
    assert "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False" in lines


def test_without_dask_jobqueue_one_sentence_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match="needs dask-jobqueue, which is not installed; pip install dask-jobqueue"):
        queue_cluster("slurm", ClusterConfig(1, "4 GB", "01:00:00", 1), processes=1, out=tmp_path)


@pytest.mark.slow
def test_a_study_through_jobs(
    study: Path,
    calm: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Commands of the queue's names that run a job's script on this machine; all else is as on a cluster."""
    commands, pids = tmp_path / "commands", tmp_path / "pids"
    commands.mkdir()
    submit = f'cp "$1" {pids}.script\nsetsid sh {pids}.script >{pids}.log 2>&1 &\necho $! >>{pids}\necho "job $!"\n'
    for name, body in (("sbatch", submit), ("scancel", 'for job in "$@"; do kill -TERM -- "-$job"; done\n')):
        (commands / name).write_text(f"#!/bin/sh\n{body}")
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", str(PRELOAD["distributed.worker.preload"]))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    config.write_text(TABLE.replace('prologue = ["module load python"]', "").replace("n_jobs = 4", "n_jobs = 1"))
    out = tmp_path / "out"
    assert main(quick_words(study, out, config, "--scheduler", "slurm")) == 0
    assert "2 of 2 participants complete" in capsys.readouterr().out
    assert len(pids.read_text().split()) == 1
    assert tables(out) == tables(calm)
