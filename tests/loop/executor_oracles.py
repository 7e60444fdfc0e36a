"""Real oracles that answer, fail, hang and die on demand; importable by worker processes."""

import ctypes
import dataclasses
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pymatgen.core import Lattice, Structure

from materials.base import Candidate, Composition, Crystal, Measurement, Origin
from materials.evaluation import Outcome, Request, Status, Ticket, request_key
from oracles.base import Oracle, OracleSettings, Resources, TicketOracle, TicketOracleSettings
from oracles.relax import RelaxSettings


class TrialSettings(OracleSettings):
    """`mark` is a folder in which the oracle leaves traces, to be seen and answered from outside."""

    kind: Literal["trial"] = "trial"
    does: str = "answers"
    mark: Path = Path("/nowhere")
    batch: int = 1
    gpus: int = 0

    @property
    def preferred_batch(self) -> int:
        return self.batch

    @property
    def resources(self) -> Resources:  # type: ignore[override]
        return Resources(gpus=self.gpus)

    @property
    def measures(self) -> tuple[str, ...]:
        return ("band_gap",)

    @property
    def fidelity(self) -> str:
        return "PBE"

    def build(self) -> Oracle:
        if self.does == "cannot be built":
            raise FileNotFoundError("no such model")
        if self.does == "dies when built":
            os.kill(os.getpid(), signal.SIGKILL)
        return TrialOracle(self)


class TrialOracle(Oracle):
    def __init__(self, settings: TrialSettings) -> None:
        self.does = settings.does
        self.mark = settings.mark
        self.asked = 0
        self.together = 0

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        self.together = len(requests)
        for request in requests:
            self.asked += 1
            yield from getattr(self, self.does.replace(" ", "_"))(request)

    def answer(self, request: Request, **changes: object) -> Outcome:
        value = {"value": float(request.replicate), "std": 0.1, "property": "band_gap", "unit": "eV"}
        measured = Measurement(fidelity="PBE", oracle=request.oracle, **(value | changes))  # type: ignore[arg-type]
        return Outcome(
            key=request.key,
            candidate_id=request.candidate.id,
            oracle=request.oracle,
            status=Status.DONE,
            measurements=(measured,),
            provenance={"pid": os.getpid(), "asked": self.asked, "together": self.together},
        )

    def answers(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request)

    def tells_threads(self, request: Request) -> Iterator[Outcome]:
        import torch

        yield self.answer(request, value=float(torch.get_num_threads()))

    def waits_for_a_second(self, request: Request) -> Iterator[Outcome]:
        """Comes to an end only while another evaluation runs at the same time."""
        (self.mark / str(os.getpid())).touch()
        while len(list(self.mark.iterdir())) < 2:
            time.sleep(0.01)
        yield self.answer(request)

    def waits_for_go(self, request: Request) -> Iterator[Outcome]:
        (self.mark / f"started {request.replicate}").touch()
        while not (self.mark / "go").exists():
            time.sleep(0.01)
        yield self.answer(request)

    def waits_for_go_after_the_first(self, request: Request) -> Iterator[Outcome]:
        yield from self.answers(request) if request.replicate == 0 else self.waits_for_go(request)

    def dies_at_the_second(self, request: Request) -> Iterator[Outcome]:
        yield from self.dies(request) if request.replicate == 1 else self.answers(request)

    def dies_once_at_the_second(self, request: Request) -> Iterator[Outcome]:
        yield from self.dies_once(request) if request.replicate == 1 else self.answers(request)

    def raises_at_the_second(self, request: Request) -> Iterator[Outcome]:
        yield from self.raises(request) if request.replicate == 1 else self.answers(request)

    def forgets_the_second(self, request: Request) -> Iterator[Outcome]:
        yield from () if request.replicate == 1 else self.answers(request)

    def raises(self, request: Request) -> Iterator[Outcome]:
        raise ZeroDivisionError("the reason")

    def exits(self, request: Request) -> Iterator[Outcome]:
        sys.exit("a library that exits")

    def runs_out_of_memory(self, request: Request) -> Iterator[Outcome]:
        bytearray(1 << 60)
        yield self.answer(request)

    def runs_torch_out_of_memory(self, request: Request) -> Iterator[Outcome]:
        import torch

        torch.empty(1 << 60)
        yield self.answer(request)

    def fills_the_disk(self, request: Request) -> Iterator[Outcome]:
        with Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)
        yield self.answer(request)

    def gives_nothing(self, request: Request) -> Iterator[Outcome]:
        yield from ()

    def gives_two(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request)
        yield self.answer(request)

    def gives_another_key(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(dataclasses.replace(request, key="0" * 16))

    def gives_nan(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request, value=math.nan)

    def gives_infinity(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request, value=math.inf)

    def gives_the_impossible(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request, value=-0.5)

    def gives_a_negative_std(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request, std=-1.0)

    def gives_another_property(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request, property="formation_energy")

    def gives_another_unit(self, request: Request) -> Iterator[Outcome]:
        yield self.answer(request, unit="meV")

    def gives_what_json_cannot_hold(self, request: Request) -> Iterator[Outcome]:
        yield dataclasses.replace(self.answer(request), provenance={"oracle": self})

    def fails_without_a_reason(self, request: Request) -> Iterator[Outcome]:
        yield dataclasses.replace(self.answer(request), status=Status.FAILED)

    def dies(self, request: Request) -> Iterator[Outcome]:
        self.lock = multiprocessing.RLock()  # libraries make such; its semaphore outlives the process
        os.kill(os.getpid(), signal.SIGKILL)
        yield self.answer(request)

    def dies_once(self, request: Request) -> Iterator[Outcome]:
        try:
            (self.mark / "died").touch(exist_ok=False)
        except FileExistsError:
            yield self.answer(request)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self, request: Request) -> Iterator[Outcome]:
        self._started()
        time.sleep(3600)
        yield self.answer(request)

    def hangs_at_the_second(self, request: Request) -> Iterator[Outcome]:
        yield from self.hangs(request) if request.replicate == 1 else self.answers(request)

    def takes_a_second(self, request: Request) -> Iterator[Outcome]:
        time.sleep(1)
        yield self.answer(request)

    def hangs_in_native_code(self, request: Request) -> Iterator[Outcome]:
        """Holds the interpreter's lock, so that no other thread of the process runs."""
        self._started()
        ctypes.PyDLL(None).sleep(3600)
        yield self.answer(request)

    def _started(self) -> None:
        if self.mark.is_dir():
            (self.mark / f"pid {os.getpid()}").touch()

    def chatters(self, request: Request) -> Iterator[Outcome]:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        yield self.answer(request)

    def chatters_in_c(self, request: Request) -> Iterator[Outcome]:
        os.write(1, b"straight to descriptor 1\n")
        yield self.answer(request)

    def leaves_a_file(self, request: Request) -> Iterator[Outcome]:
        file = self.mark / "trajectory.txt"
        file.write_text("steps")
        yield dataclasses.replace(self.answer(request), artifacts={"trajectory": {"path": str(file)}})


class BatchesOnProcessor(RelaxSettings):
    """What `device: cuda` does, without a GPU."""

    @property
    def batched(self) -> bool:
        return True

    @property
    def preferred_batch(self) -> int:
        return 3


def request_for(settings: OracleSettings, number: int = 0, atoms: int = 0) -> Request:
    """A question about the formula MgO, or about a crystal with so many atoms."""
    material = Crystal(Structure(Lattice.cubic(9), ["Mg"] * atoms, [[n / atoms, 0, 0] for n in range(atoms)]))
    candidate = Candidate(material if atoms else Composition("MgO"), Origin("test"))
    key = request_key(candidate.id, settings.kind, settings.model_dump_json(), replicate=number)
    return Request(key, candidate, candidate.material, settings.kind, replicate=number)


class RobotSettings(TicketOracleSettings):
    """A robot that is another process: it watches `desk` for questions (see robot_at)."""

    kind: Literal["robot"] = "robot"
    desk: Path

    @property
    def measures(self) -> tuple[str, ...]:
        return ("band_gap",)

    @property
    def fidelity(self) -> str:
        return "experiment"

    def build(self) -> TicketOracle:
        return Robot(self.desk)


class Robot(TicketOracle):
    def __init__(self, desk: Path) -> None:
        self.desk = desk

    def _check_line(self) -> None:
        if (self.desk / "offline").exists():
            raise ConnectionError("the robot is offline")

    def submit(self, requests: Sequence[Request]) -> list[Ticket]:
        self._check_line()
        tickets = []
        for request in requests:
            question = {"candidate": request.candidate.id, "value": request.replicate}
            file = self.desk / f"{request.key}.question"
            file.with_suffix(".draft").write_text(json.dumps(question))
            file.with_suffix(".draft").rename(file)
            tickets.append(Ticket(request.oracle, request.key, {"sample": file.name}))
        return tickets

    def poll(self, ticket: Ticket) -> Outcome | None:
        self._check_line()
        file = self.desk / f"{ticket.key}.answer"
        if not file.exists():
            return None
        answer = json.loads(file.read_text())
        measured = Measurement("band_gap", answer["value"], "eV", "experiment", ticket.oracle)
        return Outcome(ticket.key, answer["candidate"], ticket.oracle, Status.DONE, (measured,))

    def cancel(self, ticket: Ticket) -> bool:
        self._check_line()
        try:
            (self.desk / ticket.handle["sample"]).unlink()
        except FileNotFoundError:
            return False
        return True


def robot_at(desk: Path) -> None:
    """The robot's own program: answers every question with its value plus one, until told to stop."""
    while not (desk / "stop").exists():
        for question in [] if (desk / "pause").exists() else desk.glob("*.question"):
            asked = json.loads(question.read_text())
            draft = question.with_suffix(".draft")
            value = "NaN" if asked["value"] == 13 else asked["value"] + 1.0
            draft.write_text(json.dumps({**asked, "value": float(value)}))
            draft.rename(question.with_suffix(".answer"))
            question.unlink()
        time.sleep(0.02)


def double(number: int) -> int:
    return 2 * number


def double_but_die_once(number: int, mark: Path) -> int:
    if number == 3:
        try:
            (mark / "died in map").touch(exist_ok=False)
        except FileExistsError:
            return double(number)
        os.kill(os.getpid(), signal.SIGKILL)
    return double(number)


def refuse(number: int) -> int:
    raise ValueError(f"{number} is refused")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number
