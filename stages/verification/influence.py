"""stub"""


def of_everything(here, folder, stages):
    return {"tried": 0}, []
