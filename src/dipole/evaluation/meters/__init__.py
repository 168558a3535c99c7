"""What can be measured on completions: one file a family of meters, all of one protocol."""
