"""The whole story, with a real daemon, real packets and the real commands, in a sandbox.

Every sentence that claims something is checked when it is told: a claim holds only if it was observed just then.
"""

import time

from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.stage import stage
from librespot_guard.lab.story import Story
from librespot_guard.lab.telling import Narrator, Record, StoppedError

__all__ = ["Narrator", "Record", "tell"]


def tell(daemon: Daemon, narrator: Narrator, *, keep_going: bool = False) -> Record:
    """Tell the story. Raises MachineError where the stage can't be built or the daemon does not start."""
    record = Record(daemon.name, daemon.version, daemon.standin)
    begun = time.monotonic()
    with stage() as built:
        story = Story(daemon, built, narrator, record, keep_going)
        try:
            for number, (title, chapter) in enumerate(story.chapters(), start=1):
                story.number = number
                narrator.step(number, title)
                chapter()
            record.complete = True
        except StoppedError:
            pass
        finally:
            story.end()
    record.seconds = time.monotonic() - begun
    return record
