"""The lab: what is done with runs at home. Replay sets, score journals, resimulate them under other rules, view them."""
