"""Ask the four hospitals from Python: cholesterol and disease by kind of chest pain.

    python examples/hospitals/query.py HOST:PORT IDENTITY_DIR

Needs a running federation and an enrolled user; README.md shows both, command by command.
"""

import sys

import yumen

SQL = """
SELECT cp AS chest_pain,
       COUNT(*) AS patients,
       AVG(thalch) AS mean_heart_rate,
       AVG(num) AS mean_disease
FROM heart
GROUP BY cp
HAVING COUNT(*) >= 40
ORDER BY mean_disease DESC
"""


def main() -> None:
    address, identity = sys.argv[1:]
    with yumen.connect(address, identity=identity) as fed:
        fed.check(SQL, purpose="research").raise_if_denied()
        result = fed.query(SQL, purpose="research")
        print(result)
        frame = result.to_pandas()
        print(f"{len(frame)} kinds of pain, {frame['patients'].sum()} patients")


if __name__ == "__main__":
    main()
