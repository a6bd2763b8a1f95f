"""Sessions to watch."""

from tests.support.live_sessions import begin as begin
from tests.support.live_sessions import place as place
