"""The answer in the forms that people and programs read: JSON, cluster status, review, table
rows.
"""
