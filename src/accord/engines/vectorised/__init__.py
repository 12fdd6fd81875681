"""The engine for one machine, which cuts a cohort into chunks and trains each stacked, mapped or compiled."""
