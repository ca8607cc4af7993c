from ghostsweep.cli import main

main()
