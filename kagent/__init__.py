"""kagent ships log files to Amazon Kinesis and Amazon Data Firehose without losing a line.

Begin reading at `model`, the nouns, then `flow`, one flow in steps, and `tracking`, the table that
says which file is which. Imports point downward; `tests/test_layers.py` is the judge.
"""
