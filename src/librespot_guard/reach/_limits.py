"""Every bound on the engine's time and memory, in one place. Beyond one, an answer is a bound and says so; it is never exact."""

# steps of a walk for one question; a step is a rule looked at, or a cell of the universe moved by one
STEPS = 1_000_000
# how often a walk may enter a chain
CALLS = 20_000
# the product of what rules tell apart in the fields that a stranger chooses; fields beyond it are left out
CLASSES = 65_536
# destinations before NAT that one question may stand for, and namespaces on the way
ENTRIES = 256
# addresses times ports that NAT rules tell apart
CANDIDATES = 4_096
# intervals that one condition on the low bits of a field may be spelled out into
REPEATS = 4_096
# NFT_JUMP_STACK_SIZE of net/netfilter/nf_tables.h: the kernel refuses to load deeper nests
DEPTH = 16
# parts (slots times classes) that the scan of all rules follows a rule or a jump in, and chains that it enters for one base chain
PARTS = 64
SCAN_CALLS = 2_000
# classes of the scan of all rules, and classes times slots (bits of memory, if all slots differ)
SCAN_CLASSES = 1 << 18
SCAN_CELLS = 1 << 32
# covering rules that are named for one rule, and parts of it that are listed as left
NAMED = 8
