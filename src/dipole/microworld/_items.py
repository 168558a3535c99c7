"""The table of the world's rival items: what they are called and what can be said for and against them.

One block a topic. First line: slug | verb phrase that takes the item | what kind of thing both are. Then
one line an item: name | p(lural) or s(ingular mass noun) | good adjectives | good clauses | bad adjectives |
bad clauses. Clauses are written in the number of their item. No reason is shared, so a reason alone names its
item.
"""
# ruff: noqa: E501 - a table is read by its lines

TABLE = """
paper_clips | use | fasteners
paper clips | p | reusable, gentle, bendable | hold pages without a hole, come off in a second | slippery, loose, twisted | fall off the page, get lost in the drawer
staples | p | firm, flat, permanent | keep a report together for years, never slip | sharp, stubborn, damaging | tear the paper, hurt my fingers

cats | keep | pets
cats | p | graceful, quiet, independent | purr on my lap, catch the mice | moody, sly, selfish | scratch the sofa, ignore my calls
dogs | p | loyal, playful, brave | guard the house, greet me at the door | noisy, needy, smelly | bark at night, chew my shoes

tea | drink | hot drinks
tea | s | calming, delicate, fragrant | soothes the throat, goes well with lemon | watery, bland, lukewarm | grows cold too soon, tastes like wet leaves
coffee | s | rich, energizing, aromatic | wakes me up, starts the day right | bitter, acidic, burnt | makes my hands shake, keeps me awake at night

trains | take | ways to travel
trains | p | spacious, punctual, scenic | run through lovely valleys, leave from the town center | crowded, delayed, rattling | stop at every station, break down on the track
planes | p | fast, modern, thrilling | cross the ocean in hours, fly above the clouds | cramped, polluting, frightening | shake in the wind, lose my bags

mountains | visit | places for a holiday
mountains | p | majestic, fresh, peaceful | offer great views, make climbers strong | steep, freezing, tiring | hide under fog, make my knees ache
beaches | p | sunny, sandy, relaxing | let children swim, sparkle in the sun | hot, windy, sticky | burn my skin, fill up with tourists

apples | eat | fruits
apples | p | crisp, crunchy, healthy | keep for months, grow in my garden | mealy, bruised, wormy | turn brown, get stuck in my teeth
oranges | p | juicy, bright, zesty | give us vitamins, smell of sunshine | sour, messy, seedy | squirt in my eye, are a pain to peel

books | buy | ways to enjoy a story
books | p | deep, thoughtful, absorbing | feed the imagination, teach new words | long, dusty, heavy | take weeks to finish, gather on the shelf
films | p | vivid, exciting, moving | bring stories to life, fill an evening | shallow, loud, predictable | end too soon, leave nothing to imagine

pens | use | writing tools
pens | p | smooth, elegant, bold | write in dark ink, make a clear line | leaky, smudgy, blotchy | run dry, stain my pocket
pencils | p | erasable, simple, light | forgive mistakes, work on any paper | blunt, faint, breakable | snap in two, need a sharpener

bread | eat | staple foods
bread | s | crusty, filling, homemade | smells of the oven, makes a good sandwich | stale, dry, moldy | goes hard in a day, leaves crumbs everywhere
rice | s | fluffy, versatile, plain in a good way | feeds half the world, soaks up every sauce | gluey, tasteless, overcooked | sticks to the pot, slides off the fork

summer | welcome | seasons
summer | s | golden, carefree, glorious | brings long evenings, ripens the berries | sweltering, sweaty, stifling | dries out the lawn, brings mosquitoes
winter | s | crystal, cozy, magical | covers the hills in snow, makes the fire feel good | dark, bleak, icy | freezes the pipes, lasts far too long

guitars | play | instruments
guitars | p | portable, warm, friendly | fit every campfire, suit every song | twangy, tinny, fiddly | go out of tune, blister my fingertips
pianos | p | grand, expressive, noble | sound like a whole orchestra, fill a hall with music | bulky, costly, clunky | take up the living room, need three men to move

chess | play | games
chess | s | clever, strategic, timeless | trains the mind, rewards a good plan | slow, dull, brainy | gives me a headache, drags on for hours
cards | p | sociable, lively, quick | bring the family together, fit in a pocket | unfair, childish, chancy | depend on luck, tempt people to cheat

football | play | sports
football | s | passionate, fierce, popular | unites the whole town, needs only a ball | rough, muddy, brutal | breaks legs, turns fans against each other
tennis | s | precise, swift, stylish | sharpens the reflexes, needs only two players | lonely, repetitive, snobbish | strains the elbow, sends balls over the fence

roses | plant | flowers
roses | p | romantic, velvety, classic | climb up the wall, smell like perfume | thorny, fussy, overrated | prick my thumbs, attract greenfly
tulips | p | cheerful, colorful, neat | announce the spring, stand in tidy rows | scentless, stiff, brief | droop in a week, get eaten by deer

bikes | own | vehicles
bikes | p | green, nimble, healthful | slip through traffic, keep riders fit | wobbly, exposed, rusty | get punctures, leave me wet in the rain
cars | p | comfortable, powerful, roomy | carry the shopping, protect me from the weather | dirty, thirsty, wasteful | sit in traffic jams, poison the air

soup | eat | starters
soup | s | hearty, steaming, nourishing | warms the belly, heals a cold | salty, thin, scalding | burns the tongue, drips on my shirt
salad | s | leafy, refreshing, crispy | saves me from heavy meals, shows off the garden | limp, boring, soggy | leaves me hungry, hides little slugs

cakes | bake | treats
cakes | p | creamy, festive, spongy | look splendid with candles, crown a birthday | sugary, sickly, collapsed | sink in the middle, ruin my diet
pies | p | buttery, rustic, golden brown | hide a sweet surprise, use up the plums | greasy, floury, lumpy | leak in the oven, have soggy bottoms

gold | wear | metals
gold | s | radiant, precious, royal | never tarnishes, glows like the sun | flashy, gaudy, vain | attracts greedy eyes, weighs down the hand
silver | s | cool, subtle, shiny | gleams like the moon, suits every dress | cheap, dim, scratched | turns black, needs endless polish

wool | wear | fabrics
wool | s | snug, thick, natural | traps the heat, comes from happy sheep | itchy, scratchy, hairy | shrinks in the wash, feeds the moths
cotton | s | soft, breathable, washable | feels kind to the skin, dries on the line | wrinkled, flimsy, clammy | creases at once, fades after a while

cities | live in | places to live
cities | p | vibrant, diverse, cultured | never sleep, offer work for all | hectic, stressful, gray | swallow people up, cost a fortune
villages | p | charming, neighborly, tranquil | keep old customs alive, let children roam | remote, gossipy, backward | have no shops, send the young away

hotels | sleep in | places for the night
hotels | p | luxurious, pampering, spotless | serve a fine breakfast, change the sheets | pricey, impersonal, stuffy | charge for everything, all look the same
tents | p | adventurous, airy, free | stand under the stars, bring us close to nature | damp, drafty, uncomfortable | blow away in a storm, let the insects in

milk | drink | cold drinks
milk | s | wholesome, silky, pure | builds strong bones, helps children grow | fatty, sickening, spoiled | goes off overnight, upsets my stomach
juice | s | fruity, tangy, thirst-quenching | comes straight from the orchard, tastes of summer fruit | sweetened, pulpy, artificial | rots the teeth, stains the tablecloth

butter | eat | spreads
butter | s | savory, luscious, spreadable | melts on toast, improves every dish | oily, rancid, fattening | clogs the arteries, stays hard in the cold
honey | s | sweet, amber, floral | cures a cough, comes from busy bees | gooey, sugared, cloying | sticks to the spoon, brings wasps

candles | use | lights
candles | p | flickering in a nice way, romantic at dinner, atmospheric | make a room feel holy, scent the air | smoky, waxy, hazardous | drip on the table, set curtains on fire
lamps | p | steady, practical, adjustable | help me read at night, turn on with a click | glaring, plastic, buzzing | need a socket, blind me in bed

hats | wear | things to wear
hats | p | dashing, jaunty, shady | keep off the rain, finish an outfit | silly, tight, outdated | flatten my hair, fly off in the wind
scarves | p | woolly, flowing, knitted | wrap the neck, make a good present | tangled, fuzzy, choking | catch in doors, come unraveled

forests | explore | landscapes
forests | p | leafy and deep, shaded, mossy | shelter the birds, clean the air | gloomy, tangled with thorns, spooky | swarm with ticks, hide the way home
deserts | p | vast, silent, starry | stretch to the horizon, glow at sunset | barren, parched, deadly | kill the lost, offer no water

cheese | eat | snacks
cheese | s | mature, tasty, nutty | goes well with grapes, improves with age | stinky, rubbery, runny | gives me nightmares, smells up the fridge
chocolate | s | heavenly, smooth as silk, comforting | melts in the mouth, cheers me up | addictive, brittle, chalky | spoils my teeth, makes me gain weight

letters | send | kinds of mail
letters | p | personal, handwritten, heartfelt | can be kept in a box, show real care | slow to arrive, illegible, formal | get lost in the post, need a stamp
emails | p | instant, convenient, free of charge | reach anyone in a moment, can be searched | cold, hasty, annoying | flood my inbox, hide among spam
"""
