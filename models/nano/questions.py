"""Yes/no questions made from captions by rule: is a thing there, does a sentence hold.

Words of one line of `THINGS` (indented lines go on) mean the same thing, so "a man" is never a
wrong "no" to "a person".
"""
import random
import re
from collections.abc import Sequence

from models.nano import prompts

THINGS = """
person people man men woman women boy boys girl girls child children kid kids guy lady
 player players rider baby toddler men crowd someone he she skier surfer snowboarder
dog dogs puppy puppies
cat cats kitten kittens
horse horses pony
bird birds seagull seagulls duck ducks
cow cows cattle bull
sheep lamb
elephant elephants
giraffe giraffes
zebra zebras
bear bears
bicycle bicycles bike bikes
motorcycle motorcycles motorbike motorbikes dirtbike
car cars vehicle vehicles
truck trucks van
bus buses
train trains
airplane airplanes plane planes jet
boat boats ship canoe kayak sailboat
skateboard skateboards skateboarder
snowboard snowboarder
surfboard surfboards surfer
ski skis skier skiing
ball balls football basketball soccer
frisbee frisbees
kite kites
racket racquet tennis
bat baseball
umbrella umbrellas
bag bags backpack purse suitcase luggage
chair chairs
couch sofa sofas
bench benches
table tables desk
bed beds
toilet toilets
sink sinks
bathroom
kitchen
oven stove
refrigerator fridge
microwave
laptop laptops computer computers keyboard
phone phones cellphone
television tv
clock clocks
book books
cup cups mug glass glasses
bottle bottles
plate plates dish dishes
bowl bowls
knife knives
fork forks
pizza
sandwich sandwiches
cake cakes
banana bananas
apple apples
orange oranges
carrot carrots
broccoli
food meal
fruit
vegetables vegetable
flower flowers
plant plants
tree trees
grass lawn
snow snowy
beach
water lake river ocean sea pool
sand sandy
mountain mountains hill
sky
road street streets
building buildings house houses
fence
wall
window windows
door doors
stairs steps
bridge
hat hats cap
helmet helmets
shirt shirts jacket coat
dress dresses
guitar guitars
microphone
camera cameras
sign signs
traffic
swing swings swinging
slide
rock rocks rocky
field
park
city
stick
toy toys
tunnel
costume
rope
hair
tent
"""
GROUPS = [tuple(line.split()) for line in THINGS.strip().replace("\n ", " ").splitlines()]
MASS = {"food", "fruit", "grass", "snow", "water", "sand", "hair", "broccoli", "traffic", "pizza"}
WORD_GROUP = {word: i for i, group in enumerate(GROUPS) for word in group}


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def things_in(captions: Sequence[str]) -> set[int]:
    """Indices of the groups named by any caption."""
    return {WORD_GROUP[w] for c in captions for w in words_of(c) if w in WORD_GROUP}


def with_article(word: str) -> str:
    if word in MASS:
        return "some " + word
    return ("an " if word[0] in "aeiou" else "a ") + word


def presence(group: int, rng: random.Random) -> str:
    """A question or probe about the presence of a thing, by its first word or a synonym."""
    word = GROUPS[group][0]
    thing = with_article(word)
    if rng.random() < 0.5:
        return rng.choice(prompts.PRESENCE_QUESTIONS).format(thing=thing)
    statement = rng.choice(prompts.PRESENCE_STATEMENTS)
    return prompts.yes_no(statement.format(thing=thing, Thing=thing[0].upper() + thing[1:]))


class YesNoMaker:
    """Balanced yes/no pairs; a "no" asks for a thing drawn by how often it is seen elsewhere."""

    def __init__(self, all_captions: Sequence[Sequence[str]]):
        self.all_captions = all_captions
        counts = [0] * len(GROUPS)
        for captions in all_captions:
            for group in things_in(captions):
                counts[group] += 1
        self.weights = [c**0.5 for c in counts]

    def make(self, captions: Sequence[str], rng: random.Random) -> tuple[str, str]:
        present, answer = things_in(captions), rng.random() < 0.5
        if rng.random() < 0.35 or (answer and not present):
            return self._sentence(captions, answer, rng)
        if answer:
            rare = [1 / (1 + self.weights[g]) for g in sorted(present)]
            return presence(rng.choices(sorted(present), rare)[0], rng), "Yes."
        while True:
            group = rng.choices(range(len(GROUPS)), self.weights)[0]
            if group not in present:
                return presence(group, rng), "No."

    def _sentence(self, captions, answer: bool, rng: random.Random) -> tuple[str, str]:
        """A caption of this picture, or of another one that names other things."""
        if answer:
            return prompts.yes_no(rng.choice(captions)), "Yes."
        mine = things_in(captions)
        for _ in range(20):
            other = rng.choice(self.all_captions)
            if things_in(other) - mine:
                break
        return prompts.yes_no(rng.choice(other)), "No."
