"""Words that captions use, by what they tell: lists for the rules of `asking`."""

COLOURS = "black white red blue green yellow brown orange pink purple gray tan blond golden".split()
SAME_COLOUR = {"grey": "gray", "blonde": "blond", "colored": "", "colourful": ""}
NUMBERS = "one two three four five six".split()
PEOPLE = frozenset(
    "person people man men woman women boy boys girl girls child children kid kids guy lady baby "
    "toddler player players rider skier surfer snowboarder skateboarder".split()
)
ANIMALS = frozenset(
    "dog dogs puppy puppies cat cats kitten horse horses bird birds duck ducks cow cows sheep lamb "
    "elephant elephants giraffe giraffes zebra zebras bear bears".split()
)
VEHICLES = frozenset(
    "bicycle bike motorcycle motorbike car truck van bus train airplane plane jet boat ship canoe "
    "kayak sailboat".split()
)
SPORTS = {
    "soccer": "Football", "football": "Football", "basketball": "Basketball",
    "baseball": "Baseball", "tennis": "Tennis", "hockey": "Hockey", "volleyball": "Volleyball",
    "golf": "Golf", "skateboard": "Skateboarding", "skateboarder": "Skateboarding",
    "skateboarding": "Skateboarding", "surfboard": "Surfing", "surfer": "Surfing",
    "surfing": "Surfing", "snowboard": "Snowboarding", "snowboarder": "Snowboarding",
    "snowboarding": "Snowboarding", "skier": "Skiing", "skiing": "Skiing", "skis": "Skiing",
    "swimming": "Swimming", "swims": "Swimming", "rugby": "Rugby", "karate": "Karate",
}
PLACES = (
    "snow beach water lake river ocean sea pool sand mountain mountains hill street road grass "
    "lawn field park city forest woods kitchen bathroom bedroom room bed couch sofa bench table "
    "sidewalk stage court track tree trees rock rocks wall fence building desert mud crowd air "
    "restaurant office store market playground yard garden dirt path trail bridge stairs steps "
    "ramp swing slide"
).split()
INDOORS = frozenset("kitchen bathroom bedroom couch sofa bed office restaurant toilet sink oven "
                    "refrigerator desk indoors inside".split())
OUTDOORS = frozenset("beach snow grass field street road mountain mountains lake river ocean park "
                     "forest woods sidewalk trail sky outside outdoors hill lawn snowy".split())
SURFACES = "table plate desk bed couch bench counter board floor shelf tray".split()


def is_plural(noun: str) -> bool:
    if noun in ("men", "women", "people", "children", "cattle"):
        return True
    return noun.endswith("s") and not noun.endswith(("ss", "bus", "tennis", "canvas"))


def is_alive(noun: str) -> bool:
    return noun in PEOPLE or noun in ANIMALS
