"""Write examples/data/calibration/everyday.jsonl: short English texts of our own (Apache-2.0).

    python scripts/make_calibration.py > examples/data/calibration/everyday.jsonl

Sentences are composed from small stores of subjects and facts by a fixed seed, so that the file can
be made again; the tests hold that the committed file is what this prints.
"""

from __future__ import annotations

import json
import random
import sys

PEOPLE = (
    "Amara the teacher", "old Henrik", "our neighbour Lucia", "the young engineer", "Captain Osei",
    "the night nurse", "Mei from the library", "my uncle Tomas", "the baker's daughter",
    "a tired courier", "Professor Lindqvist", "the museum guide", "Priya the gardener",
    "the ferry pilot", "two students", "the mayor of the village",
)  # fmt: skip
PLACES = (
    "at the harbour", "in a small kitchen", "on the morning train", "behind the old mill",
    "in the city archive", "near the river", "under a leaking roof", "in the botanical garden",
    "at the edge of the desert", "in a crowded market", "beside the observatory",
    "on the third floor", "at the railway museum", "in the mountain hut",
)  # fmt: skip
DEEDS = (
    "repaired a clock that had been silent for nine years",
    "measured how quickly the tide came in and wrote every number down",
    "explained to the visitors why bread rises when yeast is fed with sugar",
    "planted forty seedlings in straight rows before the rain began",
    "counted the votes twice, because the first result looked too good to be true",
    "translated a letter from Portuguese and found a recipe hidden in it",
    "compared three maps and noticed that one of the bridges was missing",
    "built a small radio from spare parts and listened to the weather report",
    "sorted a thousand photographs by the light in them rather than by their dates",
    "learned to play the accordion from a book with half of its pages gone",
    "drew a plan of the water pipes so that nobody would have to dig blindly again",
    "sold the last umbrella five minutes before the storm",
    "taught the apprentice how to sharpen a chisel without burning the edge",
    "wrote a program that adds up the receipts and finds the ones that were entered twice",
)
FACTS = (
    "Water boils at a lower temperature on a high mountain, because the air presses on it less.",
    "A leap year has three hundred and sixty-six days, and the extra day falls in February.",
    "Bees see ultraviolet light, which is why many flowers have patterns that we cannot notice.",
    "The heart of a blue whale beats only a few times a minute when it dives.",
    "Iron rusts when oxygen and water meet it, so a dry nail stays bright for a long time.",
    "The moon shows us always the same side, since it turns once for every journey around us.",
    "In binary, the number ten is written as one, zero, one, zero.",
    "Copper conducts electricity well, but silver is better and gold does not tarnish.",
    "A triangle with sides of three, four and five has a right angle opposite the longest side.",
    "Sound cannot travel through empty space, however loud the source may be.",
    "Octopuses have three hearts, and two of them rest when the animal swims.",
    "Glass is made from sand, soda and lime that are melted together and cooled slowly.",
    "The Nile flows north, which surprises people who think that north is always up.",
    "Plants take in carbon dioxide during the day and give back oxygen.",
    "Ice floats, as water becomes lighter when it freezes; most liquids do the opposite.",
    "A good estimate states how wrong it may be; a number alone promises too much.",
)
ENDS = (
    "Nobody had asked for it, yet everybody was glad afterwards.",
    "It took until evening, and the tea was cold by then.",
    "The whole thing cost less than a pair of shoes.",
    "When it was done, the notes went into a green folder on the shelf.",
    "A child asked why, and the answer needed a second cup of coffee.",
    "The next week the same thing happened again, but this time they were ready.",
    "In the end the simplest explanation was the right one.",
    "Three people signed the page, and one of them smiled.",
    "They agreed to meet on Thursday and to bring better tools.",
)
QUESTIONS = (
    ("How do I keep basil alive in winter?", "Give it light, little water, and no cold draught."),
    ("What is twelve times eleven?", "Twelve times eleven is one hundred and thirty-two."),
    ("Why is my code slow?", "Measure it first; the slow part is seldom where one looks for it."),
    ("Which planet is the largest?", "Jupiter is the largest planet of the solar system."),
    ("How long do I boil an egg?", "Six minutes for a soft yolk, ten minutes for a firm one."),
    ("What does a thermometer measure?", "It measures temperature, not heat."),
    ("Is a tomato a fruit?", "In botany it is a berry; in the kitchen it is a vegetable."),
    ("How do I read a contour map?", "Where the lines lie close together the ground is steep."),
    ("What is a hash table?", "A table that finds an entry by a number computed from its key."),
    ("Why do leaves turn yellow?", "The green pigment is taken back and the yellow one remains."),
)
ROWS = 320


def rows(count: int = ROWS, seed: int = 7) -> list[str]:
    """Distinct texts."""
    draw = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        if len(texts) % 3 == 2:
            question, answer = draw.choice(QUESTIONS)
            text = f"Question: {question}\nAnswer: {answer} {draw.choice(FACTS)}"
            text += f" {draw.choice(ENDS)}"
        else:
            who = draw.choice(PEOPLE)
            text = f"{who[0].upper()}{who[1:]} {draw.choice(DEEDS)} {draw.choice(PLACES)}."
            text += f" {draw.choice(ENDS)} {draw.choice(FACTS)}"
        texts[text] = None
    return list(texts)


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(json.dumps({"text": row}) + "\n")
