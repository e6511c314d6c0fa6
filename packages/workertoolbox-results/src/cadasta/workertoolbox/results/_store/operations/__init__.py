"""What users have done: the journal `workertoolbox_operation`."""
