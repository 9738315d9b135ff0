"""In which steps cuBLASLt's log is on."""

from tracediff.capture.record.log_of_first_steps import LogOfFirstSteps


class Log:
    """Keeps what it was told."""

    def __init__(self):
        self.is_on, self.switched = True, 0

    def resume(self):
        self.is_on, self.switched = True, self.switched + 1

    def pause(self):
        self.is_on, self.switched = False, self.switched + 1


def states(steps, capturing=(), kept_from=0, begins_again_at=99):
    """Return whether the log is on in each of some (root, shape) steps; those at `capturing` are captured."""
    log, place = Log(), [0]
    first = LogOfFirstSteps(log, lambda: place[0] in capturing, lambda: int(place[0] >= begins_again_at), kept_from)
    told = []
    for place[0], (root, shape) in enumerate(steps):
        first.before_step(root, shape)
        told.append(log.is_on)
    return told, log.switched


def test_the_log_is_on_in_the_first_two_steps_of_each_shape():
    assert states([("Net", 1)] * 4 + [("Net", 8)] * 3) == ([True, True, False, False, True, True, False], 3)


def test_roots_are_counted_apart_and_steps_of_unknown_shape_are_all_logged():
    assert states([("Net", 1), ("Net", 1), ("Other", 1), ("Net", 1), ("Net", None), ("Net", None), ("Net", None)])[
        0
    ] == [
        *[True, True, True, False],
        *[True, True, True],
    ]


def test_what_is_captured_into_a_graph_is_logged_however_often_its_shape_ran():
    assert states([("Net", 1)] * 5, capturing=(3,))[0] == [True, True, False, True, False]


def test_where_a_part_of_the_run_is_kept_its_first_steps_are_logged():
    assert states([("Net", 1)] * 6, begins_again_at=3)[0] == [True, True, False, True, True, False]
    steps = [("Net", 1), ("Sampler", 9), ("Net", 1), ("Sampler", 9), ("Net", 1), ("Sampler", 9), ("Net", 1), ("Net", 1)]
    assert states(steps, kept_from=3)[0] == [True, True, True, True, False, False, True, True]
