"""Write ``rides.csv``: 2,000 invented rides of a bicycle hire, the same ones each time.

The table is made to be as awkward as a real one: numbers with a long tail, whole numbers,
categories of unequal size, booleans, dates, a price that is zero for one ride in three, and
values that are missing for a reason. Run it with ``python examples/make_rides.py``.
"""

import csv
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from random import Random
from typing import TypeVar

T = TypeVar("T")

N_RIDES = 2_000
STATIONS = {"Harbour": 9, "Old Town": 8, "University": 7, "Park": 4, "Hospital": 2, "Airport": 1}
SPEED = {"city": 13.0, "cargo": 11.0, "electric": 18.0}  # km/h


def main() -> None:
    """Write the table beside this file."""
    Path(__file__).with_name("rides.csv").write_text(text(), encoding="utf-8", newline="\n")


def text() -> str:
    """Return the table as CSV, in the order of time."""
    random = Random(20240501)
    rows = sorted((ride(random) for _ in range(N_RIDES)), key=lambda row: str(row["started"]))
    file = StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def ride(random: Random) -> dict[str, object]:
    """Return one ride; an empty string is a missing value."""
    started = start_time(random)
    is_warm = 4 <= started.month <= 9
    temperature = random.gauss(19 if is_warm else 7, 4)
    weather = choose(random, {"dry": 3 if is_warm else 2, "cloudy": 2, "rain": 1})
    member = random.random() < (0.75 if started.weekday() < 5 else 0.45)
    bicycle = choose(random, {"city": 6, "electric": 3, "cargo": 1})
    minutes = random.lognormvariate(2.5 if member else 3.1, 0.55) * (
        0.8 if weather == "rain" else 1
    )
    kilometres = minutes / 60 * SPEED[bicycle] * random.betavariate(8, 2)
    answers = random.random() < 0.55
    return {
        "started": started.isoformat(sep=" "),
        "station": choose(random, STATIONS),
        "bicycle": bicycle,
        "member": member,
        # only members have told their year of birth
        "born": int(random.triangular(1950, 2007, 1994)) if member else "",
        "weather": weather,
        "temperature": round(temperature, 1) if random.random() < 0.97 else "",
        "minutes": round(minutes, 1),
        "kilometres": round(kilometres, 2),
        "paid": price(minutes, member, bicycle),
        "rating": rating(random, weather) if answers else "",
    }


def start_time(random: Random) -> datetime:
    """Return a minute of 2024 with two rush hours a day."""
    day = datetime(2024, 1, 1) + timedelta(days=random.randrange(366))
    hour = random.choice([random.gauss(8.2, 0.8), random.gauss(17.4, 1.4), random.uniform(6, 23)])
    return day + timedelta(minutes=round(min(max(hour, 0), 23.98) * 60))


def price(minutes: float, member: bool, bicycle: str) -> float:
    """Return euros: members ride half an hour for nothing, except on an electric bicycle."""
    if member and minutes <= 30 and bicycle != "electric":
        return 0.0
    return round(1.0 + minutes * (0.19 if bicycle == "electric" else 0.11), 2)


def rating(random: Random, weather: str) -> int:
    """Return one to five stars; rain costs one."""
    stars = choose(random, {5: 9, 4: 6, 3: 2, 2: 1, 1: 1})
    return max(1, stars - (weather == "rain"))


def choose(random: Random, weights: dict[T, int]) -> T:
    """Return one of the keys with probability in proportion to its weight."""
    return random.choices(list(weights), list(weights.values()))[0]


if __name__ == "__main__":
    main()
