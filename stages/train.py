"""Train Model 5 once, for one seed, and record how its QKV weights move. (claims W1-W9)

Source: the article on weight initialisation. `goldilocks/model5/` holds the model, its initialisation, the training
loop and the recorder. A stopped training continues from its last checkpoint and ends with the same bytes.

Reads:  data/tokens/, data/inputs/tokenizer/
Writes: data/model5/seed-<s>/ with losses, initialisation, weights, histograms, updates, attention, inference and
        logit_histograms (.parquet), qkv/step-<n>.safetensors, samples.json and export/; on the way data/checkpoints/

examples:
  python -m stages.train 0
  torchrun --nproc-per-node 2 -m stages.train 0
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext

from goldilocks.config.train import Run, Settings, device, native_only
from goldilocks.core import arithmetic, cli, files, params, processes


def train_one(settings: Settings, run: Run, seed: int, any_world_size: bool) -> None:
    """Train for one seed, in as many processes as torchrun started."""
    from goldilocks.model5 import distributed, finished, hardware
    from goldilocks.model5.training_run import TrainingRun

    world = distributed.world()
    where = hardware.device(device(settings, run), world.local_rank)
    if world.size != settings.processes:  # the record would be wrong
        asked = f"{params.PARAMS}: train.processes = {settings.processes}"
        raise cli.UserError(f"{asked}, and torchrun started {world.size}; set it to {world.size}")
    lock = processes.exclusive(finished.CHECKPOINTS / f"seed-{seed}.lock", f"the training of seed {seed}")
    with lock if world.writes else nullcontext(), processes.StopRequest().listening() as stop:
        if world.writes:
            finished.prune()
        with distributed.process_group(world, where):
            training = TrainingRun(settings, run, seed, world, where)
            training.fit(training.resume(any_world_size), stop)
        if not world.writes:
            return
        output = files.MODEL5 / f"seed-{seed}"
        with files.atomic_directory(output) as folder:
            training.write(folder)
        finished.record_outputs(training.checkpoints.folder, [output])


def main() -> None:
    parser = cli.parser(__doc__, "stages.train")
    parser.add_argument("seed", type=cli.seed, help="which of run.seeds to train")
    parser.add_argument(
        "--any-world-size",
        action="store_true",
        help="go on from a checkpoint that another number of processes made; the last digits then depend on both",
    )
    arguments = parser.parse_args()
    settings, run = params.load("train", Settings, Run)
    if problems := native_only(settings, run):
        raise cli.UserError(*(f"{params.PARAMS}: {problem}" for problem in problems))
    if run.arithmetic == "native":
        arithmetic.restart_native()
    if {"DVC_STAGE", "TORCHELASTIC_RUN_ID"} & os.environ.keys():
        processes.end_with_owner()
    from goldilocks.model5 import distributed, hardware

    hardware.flush_denormals()
    started = distributed.started_by_torchrun()
    if not started or distributed.world().writes:
        hardware.check_build()
        hardware.check_precision(settings.precision, hardware.device(device(settings, run)))
    if settings.processes > 1 and not started:
        distributed.launch(settings.processes, sys.argv[1:])
        return
    try:
        train_one(settings, run, arguments.seed, arguments.any_world_size)
    except cli.UserError as error:
        if distributed.world().writes:
            raise
        raise cli.UserError(*(f"process {distributed.world().rank}: {problem}" for problem in error.problems)) from None


if __name__ == "__main__":
    cli.run(main)
