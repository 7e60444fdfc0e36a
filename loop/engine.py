"""The campaign: the one stateful object. It opens the state, runs or resumes rounds, and closes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from acquisition.base import Option
from loop.asking import Asker
from loop.audit import Audit
from loop.audit_record import AUDIT, Audited
from loop.brake import brake_reason
from loop.building import build_decider
from loop.cache import EvaluationCache
from loop.champion import ROLE, Contest, OwnRelaxations, contest, models_in_use, refused_before
from loop.comparison import refuse_changes, refuse_folder_of_another, snapshot
from loop.config import CampaignConfig
from loop.database.rows import PlannedEvaluation
from loop.database.store import Store
from loop.decision import Decision, nothing_left
from loop.energy_screen import ENERGY
from loop.errors import CampaignError
from loop.evaluation import BatchEvaluation
from loop.events import Listener, Stopwatch
from loop.executors.base import Dispatcher
from loop.honesty import Widening
from loop.learned_models import list_models, save_models
from loop.line import build_line
from loop.loading import effective_yaml
from loop.lock import DriverLock
from loop.outside import told_waiting, too_many_wait
from loop.prior import read_prior
from loop.retries import to_ask_again
from loop.seeds import derived_seed
from loop.track_record import as_notes, counting, told, widenings
from materials.archive import Archive
from materials.identity import IdentityIndex


class ExitCode(IntEnum):
    """What `python -m loop.campaign` tells the shell."""

    DONE = 0
    BAD_INPUT = 2
    STOPPED_BY_BRAKE = 3
    WAITING = 75


Project = Callable[[Store, Path], None]
"""Called when a round's batch is submitted, so that reports of what is known are written while oracles run."""


class Campaign:
    """A campaign on a run folder. Use as a context manager: it holds the driver's lock and the workers."""

    def __init__(self, config: CampaignConfig, folder: Path, listener: Listener | None = None) -> None:
        self.config = config
        self.folder = folder
        self.listener = listener or Listener()
        self.stop_reason = ""
        self._watch = Stopwatch(self.listener)
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CampaignError(
                f"the run folder {self.folder} cannot be made ({error.strerror}); name another with --dir"
            ) from error
        self._exit.enter_context(DriverLock(self.folder, self.config.database, self.config.name))
        refuse_folder_of_another(self.folder, self.config.name)
        config = self.config
        url = config.database or self.folder / "campaign.db"
        self.store = Store.open(url, config.name, create=True)
        self._exit.callback(self.store.close)
        self._begin_or_resume()
        self.dispatcher: Dispatcher = config.executor.build(
            self.folder / "evaluations", config.limits.seconds_per_evaluation
        )
        self._exit.callback(self.dispatcher.close)
        self.dispatcher.work_on(self.store.lab())
        self.dispatcher.warm(config.oracles)
        self.line = build_line(config.oracles)
        self.cache = None if config.cache is None else EvaluationCache(config.cache)
        self.objectives, self.constraints = config.as_objectives(), config.as_constraints()
        self.decider = build_decider(config, self.folder, self.dispatcher, self._watch)

    def _begin_or_resume(self) -> None:
        before = self.store.config()
        if before is not None:
            refuse_changes(before, self.config, self.folder)
        self.store.begin(snapshot(self.config), self.config.fingerprint())
        part = self.folder / "campaign.yaml.part"
        part.write_text(effective_yaml(self.config), encoding="utf-8")
        if self.config.database:
            part.chmod(0o600)  # its URL may hold a password
        part.replace(self.folder / "campaign.yaml")
        if self.config.data and self.store.last_round() == 0:
            prior = read_prior(self.config.data)
            self.store.add_prior(prior.candidates, prior.measurements, prior.finals, prior.duplicates)

    def archive(self) -> Archive:
        """All the campaign knows now."""
        return self.store.archive(self.objectives, self.constraints, [s.name for s in self.line])

    def run(self, project: Project | None = None, most_waiting: int | None = None) -> ExitCode:
        """Runs until the budget's rounds are closed, resuming an open one first.

        A round closes while answers from a lab are still out; they are learned from when they arrive. Where too many
        are out, or all rounds are closed, the run waits as long as the limits say, and ends with WAITING.
        most_waiting: answers that may be out when a round is decided; by default as each oracle says.
        """
        last = self.config.budget.rounds
        unfinished = self.store.open_round()
        closed_rounds = self.store.last_round() - (unfinished is not None)
        self.listener.campaign_started(self.config.name, closed_rounds, last, self.archive())
        self._ask_again(self.store.last_round() if unfinished is None else None)
        number = self.store.last_round() if unfinished is not None else self.store.last_round() + 1
        while number <= last:
            if self.store.open_round() is None:
                self.stop_reason = brake_reason(self.archive(), self.config.limits) or ""
                if self.stop_reason:
                    return ExitCode.STOPPED_BY_BRAKE
                if not self._listen(lambda: not too_many_wait(self.store, self.line, most_waiting), project):
                    return ExitCode.WAITING
            self._round(number, project)
            number += 1
        if not self._listen(lambda: not self.archive().pending, project):
            return ExitCode.WAITING
        self.stop_reason = brake_reason(self.archive(), self.config.limits) or ""
        return ExitCode.STOPPED_BY_BRAKE if self.stop_reason else ExitCode.DONE

    def _ask_again(self, closed: int | None) -> None:
        """What failed for a reason that may be mended by now, and what an earlier driver left unanswered.

        closed: the last round, where it is closed, so that nothing else takes up what it left.
        """
        archive = self.archive()
        again = to_ask_again(self.store, self.line, archive)
        if again:
            told = f"{len(again)} candidates that failed for want of a program, data or time are tried again"
            self.listener.warning(told)
        number = self.store.last_round()
        if again or any(r.round != number or closed == number for r in archive.pending):
            with self._watch.step("evaluate"):
                self._batch().run(number, archive, again=again)

    def _listen(self, enough: Callable[[], bool], project: Project | None) -> bool:
        """Waits for answers from outside until there are enough; False when patience ends first."""
        end = time.monotonic() + self.config.limits.seconds_of_waiting
        number = self.store.last_round()
        while not enough():
            patience = end - time.monotonic()
            if patience <= 0:
                self.stop_reason = told_waiting(self.store, self.line)
                return False
            report = project and partial(project, self.store, self.folder)
            with self._watch.step("evaluate"):
                self._batch().run(number, self.archive(), report, patience=patience)
        return True

    def _batch(self) -> BatchEvaluation:
        screen = self.decider.screen
        begun = None if screen is None else screen.looks.begun
        return BatchEvaluation(self.store, self.line, self.dispatcher, self.cache, self.listener, begun)

    def _round(self, number: int, project: Project | None) -> None:
        self._watch.seconds = {}
        self.listener.round_started(number)
        if self.store.open_round() is None:
            self._decide(number)
        list_models(self.store, self.folder, number)
        with self._watch.step("evaluate"):
            self._batch().run(number, self.archive(), project and partial(project, self.store, self.folder))
        archive = self.archive()
        audited = self._audit(number, archive)
        self.store.close_round(number, self._watch.seconds, {AUDIT: [one.as_notes() for one in audited]})
        self.listener.round_closed(number, archive, self._watch.seconds, self.store)

    def _audit(self, number: int, archive: Archive) -> list[Audited]:
        """Some of the round's results, measured again where the campaign file asks for it."""
        settings = self.config.audit
        if settings is None:
            return []
        with self._watch.step(AUDIT):
            asker = Asker(self.store, self.dispatcher, self.cache)
            audit = Audit(settings, self.line, asker, self.listener, self.config.seed)
            return audit.run(number, archive)

    def _decide(self, number: int) -> None:
        archive = self.archive()
        known = IdentityIndex()
        for candidate_id, material, final in self.store.seen():
            known.add(candidate_id, material)
            if final is not None:
                known.add(candidate_id, final)
        widened = self._widenings(archive)
        factors = {name: found.factor for name, found in widened.items()}
        held = self._contest(number, archive)
        decision = self.decider.decide(
            number,
            archive,
            known,
            self._option(),
            factors,
            None if held is None else held.model,
            refused_before(self.store.rounds()),
            self._watch,
            self.listener,
        )
        if not decision.selections and not decision.pool.refusals and not archive.evaluated:
            raise CampaignError(
                "the generators proposed nothing at all, so there is nothing to measure; see the warnings above, "
                "and check the generators and the space"
            )
        if not decision.selections:
            self.listener.warning(nothing_left(decision))
        self._commit(number, decision, held, as_notes(widened))

    def _contest(self, number: int, archive: Archive) -> Contest | None:
        """The energy model of this round, refitted on the campaign's own relaxations where that is better."""
        screen = self.decider.screen
        if screen is None:
            return None
        with self._watch.step("fit"):
            by_formula = self.config.space.formula is None
            own = OwnRelaxations.of(archive, self.line[0].name, screen.looks, by_formula)
            return contest(number, *models_in_use(self.store, self.folder), own)

    def _widenings(self, archive: Archive) -> dict[str, Widening]:
        """What earlier outcomes do to the intervals of this round's predictions; each that widens is told."""
        found = widenings(counting(self.store.answered_predictions(), archive))
        for name, one in found.items():
            if one.factor > 1.0:
                self.listener.warning(told(name, one))
        return found

    def _option(self) -> Option:
        history = self.store.seconds_by_oracle()
        cost = sum(history.get(s.name, s.settings.typical_seconds) for s in self.line)
        return Option(self.line[0].name, self.line[-1].settings.fidelity, cost)

    def _commit(
        self, number: int, decision: Decision, held: Contest | None, notes: Mapping[str, Any]
    ) -> None:
        first = self.line[0]
        planned = [
            PlannedEvaluation(first.key(s.candidate.id), s.candidate.id, first.name, first.number)
            for s in decision.selections
        ]
        save_models(self.folder, number, self.decider, held)
        versions = {p.property: f"{self.config.surrogate.kind}@{number}" for p in decision.predicted}
        if held is not None and decision.screened is not None:
            notes = {**notes, ROLE: {**held.as_notes(), **decision.screened.as_notes()}}
            goals = {o.property for o in self.objectives} | {c.property for c in self.constraints}
            if ENERGY not in goals:
                versions[ENERGY] = held.version
        self.store.commit_decision(
            number,
            seed=derived_seed(self.config.seed, number, "round"),
            pool=decision.pool.candidates,
            refusals=decision.refusals,
            predictions=decision.predictions,
            model_versions=versions,
            selections=decision.selections,
            evaluations=planned,
            duplicates=decision.pool.duplicates,
            timings=self._watch.seconds,
            notes=notes,
        )
