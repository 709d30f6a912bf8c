"""One folder for each question about speed; figures are ratios to a yardstick measured in the same run."""
