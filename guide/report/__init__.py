"""The answer in the forms that people and programs read: JSON, cluster status, review, table
rows.
"""

from guide.report.document import to_json
from guide.report.review import review_markdown
from guide.report.status import to_status

__all__ = ["review_markdown", "to_json", "to_status"]
