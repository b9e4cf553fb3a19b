"""From a molecule to a committee that moves it: ``mlcalc learn``.

    plan ──► cold labels ──► rounds of (train, explore, label anew, measure) ──► result

Explorations are made by ``rpmd``, trainings by ``mlcalc train``, each as a process of its own: this package knows ``rpmd`` only as
a command. Every stage writes its result into the folder, atomically, and is skipped where the result is present.
"""
