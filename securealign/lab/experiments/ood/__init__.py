"""Texts unlike the training data, told by the provider's head on its own and on mapped embeddings (paper, Tables 1, 7).

For every task, every other data set as what is out of distribution, and every ordered pair of encoders: energy and
largest softmax probability, judged by AUROC and FPR@95, with maps fitted on the task's texts and on public texts. The
control is the length of a text alone.
"""
