"""Tasks in a Django project: its database as the results database.

`cadasta.workertoolbox.conf.django` uses it for the settings of Celery. It needs
`pip install "workertoolbox-results[django]"`.
"""
