"""Every value that crosses a module boundary. Read this room first.

`asked` is the question, `cluster` what there is to run on, `model` what is served, `facts` what is
known of both, `layout` which replica, `schedule` its steps, `answer` what comes out, `beside` what
it is shown with, `scaling` how it follows the load, `speculation` what drafts
tokens, `disaggregation` two pools, `offers` what would help. Base units stand in
the names (``_s`` ``_bytes`` ``_tokens`` ``_flop`` ``_per_s`` ``_usd_per_h``); a ``share`` is 0..1;
bare names are counts. All types are frozen; methods only do arithmetic.
"""

from guide.domain.answer import Candidate as Candidate
from guide.domain.answer import Evaluation as Evaluation
from guide.domain.answer import GroupEvaluation as GroupEvaluation
from guide.domain.answer import Interval as Interval
from guide.domain.answer import Job as Job
from guide.domain.answer import Limits as Limits
from guide.domain.answer import MemoryFit as MemoryFit
from guide.domain.answer import Percentiles as Percentiles
from guide.domain.answer import Predicted as Predicted
from guide.domain.answer import Reason as Reason
from guide.domain.answer import Recommendation as Recommendation
from guide.domain.answer import Rejection as Rejection
from guide.domain.answer import ReplicaGroup as ReplicaGroup
from guide.domain.answer import Rival as Rival
from guide.domain.answer import ServingReport as ServingReport
from guide.domain.asked import Billing as Billing
from guide.domain.asked import Budget as Budget
from guide.domain.asked import DayProfile as DayProfile
from guide.domain.asked import Lengths as Lengths
from guide.domain.asked import MixRule as MixRule
from guide.domain.asked import Plan as Plan
from guide.domain.asked import Preference as Preference
from guide.domain.asked import Slo as Slo
from guide.domain.asked import Switches as Switches
from guide.domain.asked import Tolerance as Tolerance
from guide.domain.asked import Workload as Workload
from guide.domain.beside import BatchPoint as BatchPoint
from guide.domain.beside import ContextTier as ContextTier
from guide.domain.cache import CacheGroup as CacheGroup
from guide.domain.cache import CachePool as CachePool
from guide.domain.cluster import Gpu as Gpu
from guide.domain.cluster import GpuPool as GpuPool
from guide.domain.cluster import InstancePrice as InstancePrice
from guide.domain.cluster import Inventory as Inventory
from guide.domain.cluster import Link as Link
from guide.domain.cluster import Price as Price
from guide.domain.cluster import PriceList as PriceList
from guide.domain.cluster import SkippedNode as SkippedNode
from guide.domain.cluster import Slicing as Slicing
from guide.domain.disaggregation import Disaggregation as Disaggregation
from guide.domain.disaggregation import DisaggregationAdvice as DisaggregationAdvice
from guide.domain.disaggregation import HalfPool as HalfPool
from guide.domain.disaggregation import Latency as Latency
from guide.domain.disaggregation import Route as Route
from guide.domain.disaggregation import TwoPools as TwoPools
from guide.domain.facts import Catalog as Catalog
from guide.domain.facts import Fit as Fit
from guide.domain.facts import FitTable as FitTable
from guide.domain.facts import LimitTier as LimitTier
from guide.domain.facts import MemoryRules as MemoryRules
from guide.domain.facts import Provenance as Provenance
from guide.domain.facts import Release as Release
from guide.domain.facts import Scheduling as Scheduling
from guide.domain.facts import StaticFraction as StaticFraction
from guide.domain.layers import BF16 as BF16
from guide.domain.layers import SIXTEEN_BIT as SIXTEEN_BIT
from guide.domain.layers import Attention as Attention
from guide.domain.layers import AttentionKind as AttentionKind
from guide.domain.layers import Cache as Cache
from guide.domain.layers import Format as Format
from guide.domain.layers import LayerGroup as LayerGroup
from guide.domain.layers import LayerState as LayerState
from guide.domain.layers import Mla as Mla
from guide.domain.layers import Mlp as Mlp
from guide.domain.layers import Part as Part
from guide.domain.layers import Weight as Weight
from guide.domain.layout import LayoutKey as LayoutKey
from guide.domain.model import ModelArch as ModelArch
from guide.domain.model import Precision as Precision
from guide.domain.offers import Addition as Addition
from guide.domain.offers import Relaxation as Relaxation
from guide.domain.prefixes import PrefixAdvice as PrefixAdvice
from guide.domain.prefixes import Prefixes as Prefixes
from guide.domain.prefixes import Router as Router
from guide.domain.prefixes import RouterPoint as RouterPoint
from guide.domain.scaling import AutoscalerRules as AutoscalerRules
from guide.domain.scaling import ScaledDay as ScaledDay
from guide.domain.scaling import Scaling as Scaling
from guide.domain.schedule import SchedulerPolicy as SchedulerPolicy
from guide.domain.schedule import StepShape as StepShape
from guide.domain.speculation import Speculation as Speculation
from guide.domain.speculation import SpeculationAdvice as SpeculationAdvice
from guide.domain.speculation import SpeculationMethod as SpeculationMethod
from guide.domain.speculation import SpeculationPoint as SpeculationPoint
