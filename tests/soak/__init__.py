"""`./dev soak --minutes N`: traffic that is accounted for, while processes, disk, clock and broker fail at random.

A generator knows each event that it sends: it sends batches until they are answered with 2xx, some of them once more,
some with late or early events, and garbage between them. Meanwhile processes of `up` are killed by SIGKILL, one at a
time or all at once; its disk is full and has room again; its clock is set a day off and back; and with `--broker
kafka` a real Kafka is killed and started again. In the end every event is stored exactly once, the numbers of the page
are those of the generator, live run, broker and archive have the same digests, and the account of each hour sums.
Imports nothing of the product. The seed tells what is sent and what fails; which requests that hits does not follow
from it.
"""
