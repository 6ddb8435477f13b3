"""What AWS allows, number by number, each with the page that says so.

Only constants: the code that obeys them is in kinesis.py, firehose.py and cloudwatch.py.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html, 2026-11
PUT_RECORDS_RECORDS_MAX = 500
PUT_RECORDS_REQUEST_BYTES_MAX = 10 * MIB  # data and partition keys, before base64

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html, 2026-11
RECORD_DATA_BYTES_MAX = 10 * MIB
PARTITION_KEY_LENGTH_MAX = 256  # Unicode characters, at least one
HASH_KEY_MAX = 2**128 - 1

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateMaxRecordSize.html, 2026-11
RECORD_BYTES_DEFAULT = 1 * MIB  # data and partition key
RECORD_BYTES_MAX = 10 * MIB

# https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html, 2026-11
SHARD_RECORDS_PER_S = 1000
SHARD_BYTES_PER_S = 1 * MIB

# https://docs.aws.amazon.com/streams/latest/dev/large-records.html, 2026-11
SHARD_LARGE_BURST_BYTES = 10 * MIB  # of a stream that takes records above 1 MiB

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html, 2026-11
GET_RECORDS_RECORDS_MAX = 10_000
GET_RECORDS_BYTES_MAX = 10 * MIB

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html, 2026-11
SHARD_ITERATOR_AGE_MAX_S = 300.0

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html, 2026-11
LIST_SHARDS_DEFAULT = 1000
LIST_SHARDS_MAX = 10_000

# https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html, 2026-11
PUT_RECORD_BATCH_RECORDS_MAX = 500
PUT_RECORD_BATCH_REQUEST_BYTES_MAX = 4 * MIB  # before base64
FIREHOSE_RECORD_BYTES_MAX = 1000 * KIB  # before base64

# https://docs.aws.amazon.com/firehose/latest/dev/limits.html, 2026-11: Direct PUT, soft
FIREHOSE_LARGE_REGIONS = frozenset({"us-east-1", "us-west-2", "eu-west-1"})
FIREHOSE_RECORDS_PER_S_LARGE = 500_000
FIREHOSE_REQUESTS_PER_S_LARGE = 2_000
FIREHOSE_BYTES_PER_S_LARGE = 5 * MIB
FIREHOSE_RECORDS_PER_S = 100_000
FIREHOSE_REQUESTS_PER_S = 1_000
FIREHOSE_BYTES_PER_S = 1 * MIB

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html, 2026-11
PUT_METRIC_DATA_BYTES_MAX = 1_000_000
PUT_METRIC_DATA_METRICS_MAX = 1000
METRIC_DIMENSIONS_MAX = 30
METRIC_VALUES_MAX = 150
METRIC_NAME_LENGTH_MAX = 255
METRIC_VALUE_MAX = 2.0**360

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html, 2026-11
SIGNATURE_AGE_MAX_S = 300.0
