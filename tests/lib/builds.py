# builds: the same network run by other builds of the programs: the mutants that tests/run makes in $ENFILADE_BUILDS.
import contextlib
import os
import pathlib


def folder(name):
    """<builds>/<name>/bin; a build that is missing fails the test, for a defence that nobody tried to leave out is none."""
    if "ENFILADE_BUILDS" not in os.environ:
        raise AssertionError("ENFILADE_BUILDS must name the folder of the builds that tests/run makes")
    bin_ = pathlib.Path(os.environ["ENFILADE_BUILDS"]) / name / "bin"
    if not (bin_ / "enfilade-node").exists():
        raise AssertionError(f"{bin_} has no programs: run tests/run, or build with -DMUTANT=…")
    return bin_


@contextlib.contextmanager
def running(world, name, *nodes, mutant=None):
    """These nodes run another build while the block lasts; afterwards they are stopped. They must not run before."""
    env = {"ENFILADE_BIN": str(folder(name)), **({"ENFILADE_MUTANT": mutant} if mutant else {})}
    try:
        world.localnet("start", *nodes, env=env)
        yield
    finally:
        world.localnet("kill", *nodes, env=env)
