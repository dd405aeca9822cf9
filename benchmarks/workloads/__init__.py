"""What is measured."""

from benchmarks.workloads import addressed, connecting, fan_out
from benchmarks.workloads.base import Workload

WORKLOADS: tuple[Workload, ...] = (
    fan_out.SATURATED,
    fan_out.PACED,
    fan_out.CROWD,
    fan_out.COMPRESSED,
    addressed.PERSONAL,
    addressed.PERSONAL_SATURATED,
    addressed.SYMBOLWISE,
    connecting.STORM,
    connecting.IDLE,
    connecting.BACK_AGAIN,
    fan_out.SLOW,
    addressed.BETWEEN,
    fan_out.BY_CLIENTS,
)
