"""What the page says around its tables and figures."""

HEAD = """<!-- Written by `python -m benchmarks.when_it_helps page`: change benchmarks/when_it_helps/wording.py. -->

# When does each attention help?

**Start with plain softmax, and leave it only for a reason that you can name.** Take **`sh`** when what matters is
spread over
neighbouring tokens under noise: with a schedule as long as the runs it gained {recall, spread|sh(1,2,4,8)} and
{patterns|sh(1,4,8,16)} points, with fewer operations. Take **`bn(gain=0.2)`**, batch normalisation with a learned
gain that
starts small, when channels differ in scale or offset from sequence to sequence and no LayerNorm stands in front of
attention: {recall, gains|bn(gain=0.2)} and {recall, offsets|bn(gain=0.2)} points. With LayerNorm in front and a
learning
rate to its liking softmax reaches {recall, offsets, norm first} % there, and `bn(gain=0.2)` has little to add. **Do
not start from plain
`bn`**: its scores start large, so that attention starts peaked, and accuracy changed by {recall, spread|bn},
{patterns|bn} and
{Fashion-MNIST, small positions|bn} points where it was not needed; a softmax that starts as peaked loses as much. On
images we found
nothing that beats softmax.

Every difference on this page is a paired one: both attentions have the same model, data, initial seed and number of
epochs, and the settings were chosen for softmax. Intervals are 95 % t intervals over seeds, in points of test accuracy.
A difference is in **bold** where its t interval and its bootstrap interval both exclude zero.
"""

PREDICTED = """## Named in advance

These predictions were committed before the final runs began. They follow from exploration on other seeds and on
validation data. "Operations, training, inference" are ratios to softmax: matrix products of one sequence, and the
median
processor time of a training step and of a forward pass. Holm's correction is for all predictions together.
"""

DOUBLED = """On these short sequences a step of `bn` takes more time than one of softmax. So softmax was trained for
twice as many
epochs too, which costs more than `bn` does. This comparison was added after the predictions.
"""

FOUND = """**What held.** Nine of the ten predictions; the tenth, a gain of `bn(gain=0.2)` on Fashion-MNIST, did not
show. Of the six that
say "above", `sh` on patterns costs less than softmax in operations and in measured time; `sh` on spread recall costs
fewer
operations, but on these short sequences not less time; `bn` costs as many operations and about a fifth more time, and
stays ahead of a softmax that is trained for twice as long.
"""

ACCURACY = """## Accuracy and heads

Mean ± sample deviation over seeds. Every seed draws new data on the made tasks, and new training images on
Fashion-MNIST;
on digits and time series only the initial weights and the order of the batches change. The weights of the last epoch
are
tested; time series use `AttentionClassifier` with `embedding="linear"` and `augmentation="none"`, its defaults when
these runs
were made, which chooses its epoch on a part of the training data.

*Entropy* is that of the attention weights after training (0: one key, 1: all keys alike). *Head distance* is the
mean L2
distance between the attention maps of two heads, and *head likeness* the linear CKA of their outputs (1: alike).
"""

ENTROPY = """## Why `bn` loses on images, and when it does not

Scores of plain `bn` start at deviation 1, those of a fresh transformer near 0. Attention that starts peaked is
peaked by
content, before positions are learned: with small positions `bn` loses about as much as a softmax whose scores are
made four
times as large, both at an entropy well below that of softmax. With positions that start large the loss is within its
interval, and a gain that starts at 0.2 takes most of it away. Runs as long as those on CIFAR-10 were not made.
"""

COST = """## Cost

Operations of one sequence, and processor time over that of softmax in the same round: median and quartiles of
interleaved rounds in one process on one thread, a batch of 32.
"""

TRIED = """## Everything that was tried

Tasks and settings were chosen on seeds from 100 on, which never read test data of digits, Fashion-MNIST or the UEA
archive.
The learning rate of each made task is the one at which **softmax** did best; its size, noise and number of epochs
are those
of the first version that softmax neither solved nor failed at altogether. Those of digits and Fashion-MNIST were not
tuned,
but for the size of the learned positions, at which softmax did best.
"""

TRIED_MORE = """Tried on one or two seeds before results were kept, at a learning rate of 0.002 (validation accuracy
in percent):

* Recall without nuisance: softmax 100, `bn` 100. With LayerNorm first and factors of deviation 1: softmax 97.1,
  `bn` 96.4, `bn(gain=0.2)` 97.5. With factors of deviation 0.7 and offsets of deviation 1: softmax 98.4, `bn` 73.2.
* Factors of deviation 1 and offsets of deviation 3 together: LayerNorm first, softmax 62.3, `bn` 26.2,
  `bn(gain=0.2)` 32.2;
  LayerNorm after, softmax 34.9, `bn` 27.2, `bn(gain=0.2)` 38.7.
* Offsets of deviation 3, LayerNorm first: softmax 58.3, `bn(gain=0.2)` 81.6. A higher learning rate closed this gap,
  which
  is why the learning rates were then chosen for softmax.
* Spread recall with less noise (0.5): all attentions between 96.0 and 98.6.
* Patterns of which the others occur as often, but scattered over single tokens: softmax 24.4, `sh(1,4,8,16)` 31.2,
  chance 25.
* Patterns of 128 tokens: softmax 53.6, `bn(gain=0.2)` 55.4, `sh(1,1,2,4)` 59.0, `sh(1,4,8,16)` 67.6.
* Digits as 64 pixels with small positions: softmax 80.1, `bn` 54.5, `bn(gain=0.2)` 73.7, `sh(1,2,4,8,grid=8x8)` 83.5.
* Fashion-MNIST, 2000 images, three layers, five epochs, small positions: softmax 69.2, `softmax(scale=4)` 64.5, `bn`
  68.2,
  `bn(beta=0)` 67.7, `bn(scale=none)` 70.2, `bn(gain=0.2)` 67.2.

For want of time, lists of attentions became shorter while the final runs went on, before any result on the tasks in
question was looked at but for one seed of Fashion-MNIST with small positions: `bn(beta=...)` and `bn+sh` are
missing from the longer tasks, `bn(scale=none)` and `softmax(scale=4)` from Fashion-MNIST. CIFAR-10, StandWalkJump
and other long
series were not run.
"""

AGAIN = """## Run it again

    python -m benchmarks.when_it_helps run --data-dir FOLDER   # what is missing, cell by cell; Ctrl-C and resume at
  will
    python -m benchmarks.when_it_helps keep                    # its cells into benchmarks/results/when_it_helps.json
    python -m benchmarks.when_it_helps cost                    # processor time into the same file
    python -m benchmarks.when_it_helps page                    # this page

`--help` has examples. `--data-dir` holds sets of the UEA archive; Fashion-MNIST is Debian's package
`dataset-fashion-mnist`. Seeds, tasks and settings are in `benchmarks/when_it_helps/tasks`. Measured with torch
2.14.1 on the CPU in
float32 on one thread of a busy machine with two cores.
"""
