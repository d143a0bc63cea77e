"""The budgets, in the order of the design. A row more is a module more and a line here."""

from bench.measuring import Row
from bench.rows import acknowledge, crowd, delivery, end_to_end, intake, neighbours, spool, start, waiting, workers

ROWS: tuple[Row, ...] = (
    intake.ROW,
    workers.ROW,
    delivery.ROW,
    end_to_end.ONE,
    end_to_end.TWO,
    acknowledge.ROW,
    crowd.UNINTERESTED,
    crowd.PARKED,
    neighbours.LATE,
    neighbours.INTAKE,
    waiting.MEMORY,
    waiting.BYTES,
    start.ROW,
    spool.RESTART,
    spool.RATE,
)
