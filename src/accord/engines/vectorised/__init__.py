"""The engine for one machine: cuts a cohort into chunks and trains each stacked, mapped or compiled."""
