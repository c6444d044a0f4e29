"""The parts that nets are built of: blocks, norms, the stage, checkpointing. No net lives here."""
