"""English words that name COCO's 80 categories: names, synonyms, and phrases that only resemble a name.

It follows the list of CHAIR (Rohrbach et al. 2018, "Object hallucination in image captioning") but is newly written and
longer: it includes names of several words, words that may name one of several categories, and phrases that contain a
name but no such object, such as "hot dog", "train tracks" or "bus stop". Singular forms; `nouns.py` forms the plurals.
"""

from __future__ import annotations

COCO_NAMES: dict[str, str] = {
    "person": """
        person, man, woman, boy, girl, child, kid, baby, toddler, infant, adult, teenager, teen, youngster, youth, guy,
        lady, gentleman, male, female, human, pedestrian, someone, somebody, couple, crowd, family, team, audience,
        player, tennis player, baseball player, soccer player, football player, basketball player, hockey player,
        volleyball player, rugby player, athlete, batter, hitter, pitcher, catcher, umpire, referee, coach, goalie,
        golfer, runner, jogger, swimmer, surfer, wakeboarder, skier, snowboarder, skater, skateboarder, rider, biker,
        bicyclist, cyclist, motorcyclist, racer, climber, hiker, walker, diver, kayaker, gymnast, dancer, cheerleader,
        wrestler, boxer, driver, passenger, pilot, captain, sailor, conductor, traveler, traveller, tourist, visitor,
        commuter, customer, shopper, vendor, seller, spectator, onlooker, bystander, performer, musician, singer,
        guitarist, drummer, artist, actor, actress, clown, photographer, reporter, speaker, businessman,
        businesswoman, worker, employee, waiter, waitress, bartender, barista, chef, cook, baker, farmer, fisherman,
        construction worker, mechanic, carpenter, policeman, policewoman, police officer, cop, officer, guard,
        fireman, firefighter, soldier, doctor, nurse, surgeon, patient, dentist, teacher, student, classmate, friend,
        neighbor, neighbour, mother, mom, father, dad, parent, grandmother, grandma, grandfather, grandpa, son,
        daughter, brother, sister, sibling, husband, wife, bride, groom, bridesmaid, twin, cowboy, cowgirl, jockey,
        princess, monk, priest, preschooler, schoolgirl, schoolboy, schoolchild, granddaughter, grandson,
        grandchild, foreigner, hunter, camper, villager, teammate, bowler, batsman, bull rider, snow skier, lifeguard
    """,
    "bicycle": "bicycle, bike, pushbike, tricycle, mountain bike, bmx bike",
    "car": """
        car, automobile, sedan, convertible, hatchback, limousine, limo, suv, jeep, minivan, van, taxi,
        cab, taxicab, police car, race car, sports car, station wagon, racecar
    """,
    "motorcycle": """
        motorcycle, motor cycle, motorbike, motor bike, moped, scooter, motor scooter, dirt bike, dirtbike, harley
    """,
    "airplane": """
        airplane, aeroplane, air plane, plane, aircraft, airliner, jet, jetliner, jumbo jet, fighter jet, biplane,
        seaplane, passenger plane, sea plane
    """,
    "bus": "bus, minibus, coach bus, school bus, double decker, double decker bus, tour bus, trolley bus, shuttle bus",
    "train": """
        train, locomotive, tram, streetcar, subway, subway train, monorail, train engine, train car, freight train,
        railcar, rail car, passenger car, trolley, cable car, steam engine
    """,
    "truck": """
        truck, lorry, pickup, pickup truck, pick up truck, semi, semi truck, tractor trailer, firetruck, fire truck,
        fire engine, dump truck, tow truck, garbage truck, food truck, delivery truck, monster truck, eighteen wheeler
    """,
    "boat": """
        boat, ship, sailboat, sail boat, speedboat, speed boat, motorboat, motor boat, rowboat, row boat, yacht, ferry,
        canoe, kayak, raft, dinghy, gondola, vessel, barge, tugboat, houseboat, catamaran, cruise ship, paddle boat,
        lifeboat, fishing boat
    """,
    "traffic light": "traffic light, traffic signal, stop light, stoplight, signal light",
    "fire hydrant": "fire hydrant, hydrant, fireplug, fire plug",
    "stop sign": "stop sign, stopsign",
    "parking meter": "parking meter",
    "bench": "bench, park bench, pew",
    "bird": """
        bird, duck, duckling, goose, swan, seagull, gull, sea gull, pigeon, dove, crow, raven, parrot, parakeet,
        cockatoo, owl, eagle, hawk, falcon, vulture, ostrich, emu, flamingo, pelican, heron, stork, egret,
        peacock, hen, rooster, penguin, sparrow, robin, finch, woodpecker, hummingbird,
        songbird, blue jay, sandpiper, fowl, waterfowl
    """,
    "cat": "cat, kitten, kitty, feline, tomcat, tabby, house cat, kitty cat",
    "dog": """
        dog, puppy, pup, doggy, doggie, canine, hound, terrier, poodle, retriever, golden retriever, labrador, lab,
        collie, border collie, shepherd, german shepherd, husky, bulldog, pit bull, pitbull, beagle, dachshund,
        dalmatian, chihuahua, greyhound, pug, corgi, great dane, spaniel, cocker spaniel,
        rottweiler, schnauzer, sheepdog, sheep dog, shih tzu, mutt, yorkie, pomeranian, weimaraner
    """,
    "horse": "horse, pony, colt, foal, mare, stallion, filly, racehorse, race horse, bronco, clydesdale",
    "sheep": "sheep, lamb, ewe",
    "cow": "cow, cattle, calf, bull, ox, heifer, bison, buffalo, longhorn, herd of cattle, livestock",
    "elephant": "elephant",
    "bear": "bear, polar bear, grizzly, grizzly bear, panda, panda bear, brown bear, black bear, bear cub",
    "zebra": "zebra",
    "giraffe": "giraffe",
    "backpack": "backpack, back pack, rucksack, knapsack, book bag, bookbag",
    "umbrella": "umbrella, parasol",
    "handbag": "handbag, hand bag, purse, tote, tote bag, shoulder bag, pocketbook, satchel",
    "tie": "tie, necktie, neck tie, bow tie, bowtie",
    "suitcase": "suitcase, suit case, luggage, baggage, briefcase, brief case, travel bag, duffel bag, duffle bag",
    "frisbee": "frisbee, frisbe, flying disc, flying disk, disc, frizbee",
    "skis": "skis, pair of skis, snow skis",
    "snowboard": "snowboard, snow board",
    "sports ball": """
        sports ball, ball, baseball, basketball, football, volleyball, tennis ball, soccer ball, golf ball, beach ball,
        cricket ball, bowling ball, rugby ball, basket ball, soccerball
    """,
    "kite": "kite, parasail",
    "baseball bat": "baseball bat, bat, cricket bat",
    "baseball glove": "baseball glove, mitt, baseball mitt, catcher mitt, catcher glove",
    "skateboard": "skateboard, skate board, longboard, long board",
    "surfboard": "surfboard, surf board, boogie board, bodyboard, paddle board, paddleboard, wakeboard",
    "tennis racket": "tennis racket, tennis racquet, racket, racquet, racquetball racket, badminton racket",
    "bottle": "bottle, wine bottle, beer bottle, water bottle, flask, plastic bottle",
    "wine glass": "wine glass, wineglass, wine goblet, goblet, champagne glass, champagne flute, glass of wine",
    "cup": "cup, mug, teacup, tea cup, coffee cup, coffee mug, tumbler, paper cup, glass of water, glass of milk",
    "fork": "fork",
    "knife": "knife, butter knife, pocket knife, pocketknife, cleaver",
    "spoon": "spoon, ladle, teaspoon, tablespoon, wooden spoon",
    "bowl": "bowl, soup bowl, mixing bowl",
    "banana": "banana, plantain",
    "apple": "apple",
    "sandwich": """
        sandwich, burger, hamburger, cheeseburger, sub sandwich, hoagie, panini, club sandwich, cheese burger, blt
    """,
    "orange": "orange, tangerine, clementine, mandarin, orange slice",
    "broccoli": "broccoli, brocoli, broccoli floret",
    "carrot": "carrot",
    "hot dog": "hot dog, hotdog, chili dog, chilli dog, corn dog, frankfurter, bratwurst",
    "pizza": "pizza, pizza pie, pepperoni pizza, slice of pizza, calzone",
    "donut": "donut, doughnut, do nut, dough nut",
    "cake": "cake, cupcake, cup cake, cheesecake, birthday cake, wedding cake, layer cake, shortcake, coffee cake",
    "chair": "chair, armchair, arm chair, stool, barstool, bar stool, recliner, rocking chair, lawn chair, wheelchair",
    "couch": "couch, sofa, loveseat, love seat, settee, futon",
    "potted plant": """
        potted plant, houseplant, house plant, pot plant, flower pot, flowerpot, plant pot, potted tree, potted flower
    """,
    "bed": "bed, bunk bed, crib, cot, bunkbed",
    "dining table": """
        dining table, table, dinner table, dining room table, kitchen table, picnic table, coffee table, tabletop,
        table top, conference table, wooden table
    """,
    "toilet": "toilet, urinal, commode, toilet bowl, toilet seat, toilet lid",
    "tv": "tv, television, tv set, television set, monitor, computer monitor, television screen, tv screen, televison",
    "laptop": "laptop, laptop computer, notebook computer, netbook, macbook, lap top",
    "mouse": "mouse, computer mouse, wireless mouse",
    "remote": "remote, remote control, wii remote, wiimote, game controller, video game controller, wii controller",
    "keyboard": "keyboard, computer keyboard",
    "cell phone": """
        cell phone, cellphone, mobile phone, phone, smartphone, smart phone, telephone, iphone, cellular phone, flip
        phone
    """,
    "microwave": "microwave, microwave oven",
    "oven": "oven, stove, stovetop, stove top, stove top oven, cooker",
    "toaster": "toaster",
    "sink": "sink, washbasin, wash basin, basin",
    "refrigerator": "refrigerator, fridge, refridgerator, mini fridge",
    "book": "book, textbook, notebook, novel, magazine, paperback",
    "clock": "clock, clock tower, clocktower, alarm clock, wall clock, grandfather clock, clock face",
    "vase": "vase",
    "scissors": "scissors, scissor, pair of scissors, shears",
    "teddy bear": """
        teddy bear, teddy, teddybear, stuffed bear, toy bear, plush bear, stuffed teddy bear
    """,
    "hair drier": "hair drier, hair dryer, hairdryer, hairdrier, blow dryer, blow drier, blowdryer",
    "toothbrush": "toothbrush, tooth brush, electric toothbrush",
}
"""COCO's category names, in its order, and the words that name them: singular, in lower case, separated by commas."""

EITHER: dict[str, tuple[str, ...]] = {
    "bike": ("bicycle", "motorcycle"),
    "scooter": ("motorcycle", "skateboard", "bicycle"),
    "van": ("car", "truck", "bus"),
    "jeep": ("car", "truck"),
    "suv": ("car", "truck"),
    "vehicle": ("car", "truck", "bus", "motorcycle"),
    "trolley": ("train", "bus"),
    "cable car": ("train", "bus"),
    "toaster oven": ("toaster", "oven", "microwave"),
    "glass": ("cup", "wine glass"),
    "seat": ("chair", "bench", "couch"),
    "bag": ("backpack", "handbag", "suitcase"),
    "computer": ("laptop", "tv", "keyboard"),
    "desktop computer": ("tv", "keyboard"),
    "screen": ("tv", "laptop"),
    "board": ("surfboard", "skateboard", "snowboard"),
    "controller": ("remote",),
    "cub": ("bear",),
    "plant": ("potted plant",),
    "stuffed animal": ("teddy bear",),
    "stuffed toy": ("teddy bear",),
    "basin": ("sink", "bowl"),
    "coach": ("person", "bus"),
    "boxer": ("person", "dog"),
    "notebook": ("book", "laptop"),
    "glove": ("baseball glove",),
}
"""Words that may name any of several categories; they match whichever of these is in the photo. These entries take
precedence over those of `COCO_NAMES`."""

NO_OBJECT: str = """
    train track, train station, train platform, train yard, railroad track, bus stop, bus station, bus shelter,
    car park, car seat, car door, car window, parking lot, boat dock, boat ramp, bike rack, bike path, bike
    lane, bike trail, bike ramp, bike helmet, bicycle rack, bicycle helmet, bicycle path, motorcycle helmet,
    horse trailer, dog house, doghouse, dog park, dog food, dog bowl, dog leash, dog sled, dog collar, dog toy,
    cat toy, cat food, bird house, bird feeder, bird cage, bird nest, cow bell, zebra crossing, zebra print,
    baseball field, baseball game, baseball diamond, baseball cap, baseball hat, baseball uniform, baseball
    jersey, baseball stadium, baseball team, baseball park, baseball base, baseball helmet, baseball bleacher,
    baseball match, basketball court, basketball game, basketball hoop, basketball net, basketball goal,
    basketball uniform, basketball jersey, basketball team, football field, football game, football helmet,
    football uniform, football jersey, football team, football match, football stadium, soccer field, soccer
    game, soccer goal, soccer team, volleyball court, volleyball net, volleyball game, volleyball team, tennis
    court, tennis match, tennis game, tennis net, tennis, ball game, ball field, ball park, ball pit, ball
    player, ball cap, ski slope, ski lift, ski pole, ski resort, ski lodge, ski jacket, ski boot, ski trail, ski
    hill, ski run, ski mask, ski suit, ski area, ski goggle, ski jump, ski course, ski, snowboard slope,
    snowboard ramp, skateboard park, skateboard ramp, skateboard rink, skateboard trick, kite string, wine
    cellar, wine rack, wine bar, bottle cap, bottle opener, cup holder, glass window, glass door, glass case,
    glass wall, glass building, glass bowl, glass vase, glass pane, glass shelf, stained glass, magnifying
    glass, plant stand, banana bread, banana peel, banana tree, apple pie, apple sauce, apple tree, apple juice,
    apple logo, orange juice, orange tree, orange peel, carrot stick, pizza box, pizza cutter, pizza pan, pizza
    shop, pizza place, pizza parlor, pizza restaurant, pizza dough, pizza hut, pizza sauce, cake stand, cake
    pan, cake mix, chair lift, chairlift, ski chair lift, car wash, table cloth, tablecloth, table tennis, pool
    table, ping pong table, table lamp, bed sheet, bed spread, bed frame, flower bed, river bed, truck bed, bed
    of a truck, bed of flower, toilet paper, toilet brush, toilet roll, toilet stall, tv stand, tv show,
    television stand, television show, computer desk chair, computer computer room, computer game, mouse pad,
    mousepad, phone booth, phone pole, telephone pole, telephone booth, oven mitt, oven door, oven rack, oven
    mit, book shelf, bookshelf, book case, bookcase, book store, bookstore, book mark, tie dye, tie dyed, remote
    controlled, fork lift, forklift, knife block, cell tower, sheep skin, horse shoe, horseshoe, horse race, hot
    dog stand, hot dog bun, hot dog vendor, hamburger bun, ice cream sandwich, chicken sandwich, turkey
    sandwich, bat dugout, sink hole, street sign, street light, light house, lighthouse, toy car, toy truck, toy
    train, toy boat, toy plane, toy airplane, toy bus, toy horse, toy dog, toy cat, toy duck, toy elephant, toy
    giraffe, toy motorcycle, toy bird, stuffed dog, stuffed cat, stuffed elephant, stuffed giraffe, stuffed
    horse, stuffed duck, stuffed bird, rubber duck, snow man, snowman, mannequin, scare crow, scarecrow, rocking
    horse, carousel horse, hobby horse, cutting board, diving board, bulletin board, chalk board, white board,
    board walk, boardwalk, board game, ironing board, sign board, score board, dart board, head board, circuit
    board, drawing board, bill board, billboard, jet ski, jet stream, police station, fire station, school
    building, man made, man hole, manhole, couple of, crowd of, family of, team of, pitcher of, cup of, tea bag,
    sleeping bag, garbage bag, trash bag, plastic bag, paper bag, punching bag, bean bag, grocery bag, shopping
    bag, bag of chip, golf bag, screen door, movie screen, sun screen, plant life, power plant, boxing glove,
    ski glove, rubber glove, winter glove, snow glove, basketball shoe, soccer cleat, bicycle seat, bike seat,
    cook book, cookbook, football cleat, lamb chop, bull ring, bull horn, bull fight, orange cone, traffic cone,
    bird bath, glasses, eye glasses, eyeglasses, sun glasses, sunglasses, reading glasses, hour glass, guard
    rail, paper plane, hot tub, horse statue, elephant statue, bear statue, cow statue, bull statue, bird
    statue, giraffe statue
"""
"""Phrases that contain the name of a category and name no such object, separated by commas."""
