"""The student: streaming states, causality, sizes."""

from __future__ import annotations

import torch

from speechxfer.wakeword.model.student import Student
from speechxfer.wakeword.runtime.features import NUM_MELS


def test_torchs_states_go_on_where_they_stopped(student: Student) -> None:
    log_mel = torch.randn(2, 200, NUM_MELS) - 6
    with torch.inference_mode():
        whole, _ = student(log_mel)
        first, states = student(log_mel[:, :74])
        second, _ = student(log_mel[:, 74:], states)
    assert torch.cat([first, second], dim=1).allclose(whole, atol=1e-5)


def test_a_score_depends_on_nothing_after_it(student: Student) -> None:
    log_mel = torch.randn(1, 300, NUM_MELS)
    other = log_mel.clone()
    other[:, 200:] = 0
    with torch.inference_mode():
        assert student(log_mel)[0][:, :100].equal(student(other)[0][:, :100])


def test_the_student_is_small_and_sees_a_word(student: Student) -> None:
    assert sum(p.numel() for p in student.parameters()) <= 1_000_000
    assert 1.5 < student.receptive_seconds < 2.0
