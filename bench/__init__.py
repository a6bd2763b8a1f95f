"""The figures we publish: ratios within one run, against the least that the system or git can do."""
